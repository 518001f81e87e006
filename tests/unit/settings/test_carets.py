"""How a problem looks to an operator: the caret stands under what is wrong, whatever stands before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.i18n import use_language
from agent.settings.problems import mask, render, tally
from agent.settings.width import blank_of, display_width
from tests.unit.settings.kit import AGENT, CONNECTION, DEED_FLOW, PERSON_FLOW, problems_of


@pytest.mark.parametrize(
    "text, width",
    [
        ("abc", 3),
        ("汇通", 4),
        ("（元）", 6),
        ("a汇b", 4),
        ("é", 1),
        ("e\u0301", 1),
        ("\u200b", 0),
        ("ｱ", 1),
        ("Ａ", 2),
        ("한", 2),
        ("𠮷", 2),
        ("䶮", 2),
        ("", 0),
    ],
)
def test_width_is_that_of_a_terminal(text: str, width: int) -> None:
    """Wide and full-width characters take two columns, combining and invisible ones none."""
    assert display_width(text) == width


@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_blanks_are_as_wide_as_what_they_stand_for(text: str) -> None:
    """The space before a caret is exactly as wide as the text above it."""
    assert display_width(blank_of(text)) == display_width(text)


def test_tabs_stay_tabs() -> None:
    """A tab before the marked place is kept, so that the caret fits under any tab width."""
    assert blank_of("a\t汇") == " \t  "


@pytest.mark.parametrize(
    "before",
    ["", "标题: 成都市, ", "ｔitle: é, ", "“全角”: （元）, ", "𠮷𠮷: 䶮, "],
)
def test_the_caret_stands_under_the_marked_text(before: str) -> None:
    """Under Chinese, full-width and rare characters, column for column."""
    text = AGENT + CONNECTION + PERSON_FLOW + f"delivery: {{{before}wndow: 1}}\n"
    problem = next(problem for problem in problems_of(text) if "wndow" in str(problem.says))
    lines = render(problem).splitlines()
    source = next(line for line in lines if "wndow" in line and "|" in line)
    caret = next(line for line in lines if "^" in line)
    start = display_width(source[: source.index("wndow")])
    assert display_width(caret[: caret.index("^")]) == start
    assert caret.count("^") == len("wndow")


def test_the_carets_are_as_wide_as_the_marked_text() -> None:
    """Marked Chinese gets two carets for each character."""
    text = AGENT + CONNECTION + PERSON_FLOW.replace("  people:", "  人口:")
    caret = next(line for line in render(problems_of(text)[0]).splitlines() if "^" in line)
    assert caret.count("^") == 4


def test_a_problem_reads_as_in_the_handbook() -> None:
    """Place, code, sentence, the line before, the caret, suggestion, fields, fix and where to read more."""
    text = AGENT + DEED_FLOW.replace("key: [完税凭证号]", "key: [完税凭证号], encodng: gbk")
    assert (
        render(problems_of(text)[0])
        == 'agent.yaml:11:51: error HT-C012 there is no field named "encodng"\n   |\n10 |     message: tax.deed@1\n11 |     from: {files: /data/drop/*.csv, key: [完税凭证号], encodng: gbk}\n   |                                                        ^^^^^^^ send.deeds.from\n   = did you mean: encoding\n   = possible here: archive_to, delimiter, encoding, every, files, header_row, key, ready, ready_suffix, rejected_to, stable_for, then\n   = correct it: huitong validate --fix      details: huitong explain HT-C012'
    )


def test_a_problem_reads_in_chinese() -> None:
    """The same problem, in the language of the operator."""
    text = AGENT + DEED_FLOW.replace("key: [完税凭证号]", "key: [完税凭证号], encodng: gbk")
    use_language("zh")
    lines = render(problems_of(text)[0]).splitlines()
    assert lines[0] == 'agent.yaml:11:51: 错误 HT-C012 没有名为 "encodng" 的字段'
    assert lines[5] == "   = 您是否要写: encoding"
    assert lines[7] == "   = 自动修复: huitong validate --fix      说明: huitong explain HT-C012"


@pytest.fixture(autouse=True)
def english() -> None:
    """Every test begins in English."""
    use_language("en")


def test_json_carries_the_same_facts() -> None:
    """Place, code, text, hints, suggestion and whether it can be corrected, for machines."""
    text = AGENT + DEED_FLOW.replace("key: [完税凭证号]", "key: [完税凭证号], encodng: gbk")
    facts = problems_of(text)[0].as_json()
    assert (facts["code"], facts["path"], facts["line"], facts["column"], facts["end_column"]) == (
        "HT-C012",
        "agent.yaml",
        11,
        51,
        58,
    )
    assert (facts["where"], facts["alternatives"], facts["fixable"], facts["level"]) == (
        "send.deeds.from",
        ["encoding"],
        True,
        "error",
    )


@pytest.mark.parametrize(
    "line, shown",
    [
        ("password: hunter2", "password: *******"),
        ("  pasword: hunter2 # x", "  pasword: ********# x"),
        ('{"password":"hunter2"}', '{"password":*********}'),
        ("key: hunter2", "key: *******"),
        ("key: [bdcdyh]", "key: [bdcdyh]"),
        ("from: {key: [完税凭证号]}", "from: {key: [完税凭证号]}"),
        ("from: {table: person, key: sfzh, cursor: gxsj}", "from: {table: person, key: ****, cursor: gxsj}"),
        ("key: a,b", "key: ***"),
        ("{user: u, password: hunter2}", "{user: u, password: *******}"),
        ("password: secret:registry_password", "password: secret:registry_password"),
        ("密码: 甲乙丙", "密码: ***"),
        ("url: amqps://u:hunter2@mq/x", "url: amqps://u:*******@mq/x"),
        ("MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g", "*" * 64),
        ("title: 成都市不动产登记中心", "title: 成都市不动产登记中心"),
        ("files: /data/drop/deed/*.csv", "files: /data/drop/deed/*.csv"),
    ],
)
def test_secrets_are_starred_out(line: str, shown: str) -> None:
    """What looks like a password or a key is never shown, and columns stay where they are."""
    assert mask(line) == shown
    assert len(mask(line)) == len(line)


CANARY = "Kx7-canary-Zq"


@pytest.mark.parametrize(
    "text",
    [
        AGENT.replace("secret:hub_password", CANARY),
        AGENT.replace("password: secret:hub_password", f'pasword: "{CANARY}"'),
        AGENT.replace("password: secret:hub_password", f"key: {CANARY}\n  cert: x"),
        AGENT.replace("amqps://mq", f"amqps://u:{CANARY}@mq"),
        AGENT.replace("version: 1", f"password: {CANARY}\nversion: 2"),
        AGENT + f"connections: {{registry: {{type: postgres, host: db, password: {CANARY}, prot: 1}}}}\n",
        AGENT + f"connections:\n  registry:\n    password: {CANARY}\n    tpye: x\n",
    ],
)
def test_a_password_in_the_file_appears_in_no_output(text: str) -> None:
    """Neither the text nor the JSON of any problem repeats a password that an operator wrote into the file."""
    problems = problems_of(text)
    assert problems
    shown = "".join(render(problem) + str(problem.as_json()) for problem in problems)
    assert CANARY not in shown


def test_the_tally_counts_both_kinds() -> None:
    """Errors and warnings are counted apart."""
    problems = problems_of(AGENT.replace("amqps:", "amqp:") + CONNECTION + PERSON_FLOW + "delivery: {x: 1}\n")
    assert tally(problems) == "1 error, 1 warning"
    assert tally(problems + problems) == "2 errors, 2 warnings"


def test_a_problem_without_a_suggestion_says_what_to_do() -> None:
    """The action of its code stands below it, unless something better does."""
    (plain,) = problems_of(AGENT.replace("  id: demo-dept", "  id: demo-dept\n  disk_low_water: lots") + CONNECTION + PERSON_FLOW)
    assert "   = to do: Write for example 512MiB or 2GiB." in render(plain).splitlines()
    (guessed,) = problems_of(AGENT.replace("  id: demo-dept", "  id: demo-dept\n  titel: x") + CONNECTION + PERSON_FLOW)
    assert "to do" not in render(guessed)


def test_a_city_that_is_no_time_zone_leads_to_that_of_china() -> None:
    """The names that look alike lie elsewhere: Kuching for Chengdu."""
    (problem,) = problems_of(
        AGENT.replace("  id: demo-dept", "  id: demo-dept\n  timezone: Asia/Chengdu") + CONNECTION + PERSON_FLOW
    )
    assert "   = In China: Asia/Shanghai" in render(problem).splitlines()
