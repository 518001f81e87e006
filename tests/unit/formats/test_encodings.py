from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.formats import gb18030
from agent.formats.encodings import Detected, Encoding, detect_encoding
from agent.formats.errors import BadFile


def detect(octets: bytes) -> Detected:
    return detect_encoding(io.BytesIO(octets))


@pytest.mark.parametrize(
    "octets,encoding,bom",
    [
        (b"", Encoding.UTF_8, False),
        (b"a,b\n1,2\n", Encoding.UTF_8, False),
        ("姓名\n张三\n".encode(), Encoding.UTF_8, False),
        (b"\xef\xbb\xbf" + "姓名\n".encode(), Encoding.UTF_8, True),
        ("姓名\n张三\n".encode("gb18030"), Encoding.GB18030, False),
        (b"name\n\xcd\xf5\xfe\x9f\xc1\xfa\n", Encoding.GB18030, False),
        ("𠮷\n".encode("gb18030"), Encoding.GB18030, False),
        (b"price\n\x80 5\n", Encoding.GB18030, False),
        (b"a" * 3_000_000 + "\n张三\n".encode("gb18030"), Encoding.GB18030, False),
    ],
)
def test_the_whole_file_decides(octets: bytes, encoding: Encoding, bom: bool) -> None:
    """A mark decides, then valid UTF-8, then valid GB18030, however late the first Chinese character comes."""
    assert detect(octets) == Detected(encoding, bom, 0)
    assert detect(octets).certain


def test_a_few_broken_bytes_do_not_turn_the_verdict() -> None:
    """Where neither encoding is valid throughout, the one with fewer errors is meant, and the verdict says it is a guess."""
    gb = detect("姓名地址备注\n".encode("gb18030") * 50 + b"\xff\n")
    assert (gb.encoding, gb.certain) == (Encoding.GB18030, False)
    utf_8 = detect("姓名地址备注某\n".encode() * 50 + b"\xff\n")
    assert (utf_8.encoding, utf_8.certain) == (Encoding.UTF_8, False)


@pytest.mark.parametrize("broken", [b"1,\xff\n", b"1,\xc0\x80\n", b"1,\xed\xa0\x80\n", "1,张三\n".encode("gbk"), b"1,\xe5\xbc\n"])
def test_one_broken_row_does_not_turn_a_utf_8_file_into_other_characters(broken: bytes) -> None:
    """Text in UTF-8 often is valid GB18030 throughout: what looks like UTF-8 stays UTF-8, and the broken row shows."""
    text = "成都市青羊区不动产登记中心\n".encode()
    detected = detect(b"id,name\n" + broken + text)
    assert (detected.encoding, detected.certain) == (Encoding.UTF_8, False)


def test_a_character_on_the_border_of_two_blocks_is_no_error() -> None:
    """Blocks are cut between lines, never inside a character."""
    text = ("张" * 9 + "\n") * 120_000
    assert detect(text.encode()) == Detected(Encoding.UTF_8, bom=False, undecodable=0)
    assert detect(text.encode("gb18030")) == Detected(Encoding.GB18030, bom=False, undecodable=0)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_by_name(encoding: str) -> None:
    """The operator is told what the file is and what to save it as."""
    with pytest.raises(BadFile) as caught:
        detect("\ufeffa,b\n".encode(encoding))
    assert caught.value.reason == "utf_16"


@pytest.mark.parametrize("name", ["gbk", "GBK", "gb2312", "cp936", "GB18030"])
def test_every_name_of_the_gb_family_means_gb18030(name: str) -> None:
    """GBK is never read as GBK, which does not know 䶮."""
    assert Encoding.named(name) is Encoding.GB18030


@given(st.binary(max_size=300))
def test_detection_never_fails_on_bytes(octets: bytes) -> None:
    """Any bytes get a verdict, or are UTF-16."""
    if octets.startswith((b"\xff\xfe", b"\xfe\xff")):
        with pytest.raises(BadFile):
            detect(octets)
        return
    detected = detect(octets)
    if detected.certain:
        detected.encoding.decode(octets)


# -- GB18030 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets,text,replaced",
    [
        (b"\xfe\x9f", "䶮", 0),
        (b"\x95\x34\xb2\x35", "𠮷", 0),
        (b"\x80", "€", 0),
        (b"\x80\x80a\x80", "€€a€", 0),
        (b"\xd5\x80", b"\xd5\x80".decode("gb18030"), 0),  # 0x80 as the second byte of a character
        (b"\xa6\xd9", "\ufe10", 1),
        (b"\xa8\xbc", "\u1e3f", 1),
        (b"\xfe\x59", "\u9fb4", 1),
        (b"\xfe\x51\xfe\x51", "𠂇𠂇", 2),
        (b"\xaa\xa1", "\ue000", 0),  # a character of the writer's own
        ("\ue863".encode("gb18030"), "䶮", 1),  # what old GBK software makes of 䶮
        ("\ue76c".encode("gb18030"), "€", 1),
    ],
)
def test_gb18030_gives_real_code_points(octets: bytes, text: str, replaced: int) -> None:
    """The euro byte and private use code points read as what they mean, and replacements are counted."""
    assert gb18030.decode(octets) == (text, replaced)


@pytest.mark.parametrize("octets", [b"\xff", b"a\x80\xff", b"\x81", b"\x81\x30\x81", b"\x80\xd5\n"])
def test_invalid_gb18030_is_an_error(octets: bytes) -> None:
    """The euro sign does not open the door to anything else."""
    with pytest.raises(UnicodeDecodeError):
        gb18030.decode(octets)


def test_the_table_is_the_one_the_codec_implies() -> None:
    """Where Python's tables have a real code point at the place of a private one, it is the one in our table."""
    trails = [trail for trail in range(0x50, 0xA1) if trail != 0x7F]
    places = {0xE815 + index: bytes((0xFE, trail)) for index, trail in enumerate(trails)}
    places |= {0xE7E7 + index: bytes((0xA9, 0x89 + index)) for index in range(13)}
    places |= {0xE7C8: b"\xa8\xbf", 0xE76C: b"\xa2\xe3"}
    agreed = 0
    for private, octets in places.items():
        character = octets.decode("gb18030")
        if character != chr(private):
            assert gb18030.REAL_CODE_POINTS[private] == character
            agreed += 1
    assert agreed == 81
    assert len(gb18030.REAL_CODE_POINTS) == 106
    assert not any(0xE000 <= ord(real) <= 0xF8FF for real in gb18030.REAL_CODE_POINTS.values())


def test_a_block_of_euro_bytes_costs_no_more_than_its_length() -> None:
    """A megabyte of errors, each of which has to be passed over, is decoded in one go."""
    assert gb18030.decode(b"\x80" * 1_000_000)[0] == "€" * 1_000_000
