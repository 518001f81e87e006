"""Realistic, invented people, companies and tax lists.

Every identifier has a valid check digit and belongs to nobody: the sequence parts are drawn, the names are combined from
common characters and a few rare ones that damage is usually seen on. The same seed gives the same data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from agent.standards.cn_id import check_character as citizen_check
from agent.standards.org_code import check_character as org_check
from agent.standards.uscc import check_character as uscc_check

SURNAMES: Final = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
COMPOUND: Final = ("欧阳", "司马", "诸葛", "上官", "买买提·", "阿卜杜拉·")
GIVEN: Final = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉萍红鹏飞鑫波斌宇浩凯轩梓涵雨欣怡佳琪子墨思远嘉豪"
RARE: Final = ("䶮", "㙍", "𠮷", "堃", "喆", "镕", "翀", "燚", "犇", "赟", "瀞", "祎", "昇", "珺", "頔")
REGIONS: Final = ("510104", "510105", "510106", "510107", "510108", "510112", "510113", "510114", "510115", "510116")
STREETS: Final = ("人民南路", "天府大道", "蜀汉路", "春熙路", "建设北路", "高升桥路", "二环路南三段", "一环路东一段")
TRADES: Final = ("科技", "商贸", "建筑工程", "餐饮管理", "医药", "物流", "文化传媒", "农业开发", "装饰设计", "电子")
_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"

PERSON_COLUMNS: Final = (
    "sfzh", "xm", "xb", "mz", "csrq", "hyzk", "xl", "lxdh", "dz", "xzqh", "nsr", "bz", "djrq", "gxsj",
)  # fmt: skip
COMPANY_COLUMNS: Final = ("tyshxydm", "mc", "fddbr", "zczb", "clrq", "zt", "jyfw", "dz", "xzqh", "gxsj")

Row = tuple[object, ...]


def stamp(moment: datetime) -> str:
    """Return a time of change as the registry writes it."""
    return moment.isoformat(sep=" ", timespec="milliseconds")


class Sampler:
    """Draws rows. `now` is the newest business time; rows were last changed before it."""

    def __init__(self, seed: int, now: datetime) -> None:
        self.seed = seed
        self.now = now
        self._random = random.Random(seed)
        self._citizens: set[str] = set()

    def people(self, count: int) -> Iterator[Row]:
        """Yield rows of PERSON_COLUMNS."""
        for _ in range(count):
            yield self.person(self.now - timedelta(seconds=self._random.randrange(60, 90 * 86_400)))

    def person(self, changed: datetime) -> Row:
        """Return one person whom nobody has seen before, last changed then."""
        draw = self._random
        region, born, sex = draw.choice(REGIONS), date(1905, 1, 1) + timedelta(days=draw.randrange(43_000)), draw.choice("12")
        return (
            self._citizen(region, born, sex),
            self.name(),
            sex,
            f"{draw.choices(range(1, 57), [900, *[2] * 55])[0]:02d}",
            f"{born:%Y%m%d}",
            draw.choice(("10", "20", "21", "30", "40", None)),
            draw.choice(("11", "21", "31", "41", "61", "71", "81", None)),
            None if draw.random() < 0.1 else f"1{draw.choice('3578')}{draw.randrange(10**9):09d}",
            f"成都市{draw.choice(STREETS)}{draw.randrange(1, 999)}号",
            region,
            f"{draw.randrange(10**8) / 100:.2f}",
            draw.choice((None, None, "", "老档案", "含\t制表符", "多行\n备注", "“引号”,逗号")),
            f"{self.now.date() - timedelta(days=draw.randrange(20_000))}",
            stamp(changed),
        )

    def _citizen(self, region: str, born: date, sex: str) -> str:
        while True:
            sequence = f"{self._random.randrange(100):02d}{self._random.randrange(0, 10, 2) + (sex == '1'):d}"
            head = f"{region}{born:%Y%m%d}{sequence}"
            if head not in self._citizens:
                self._citizens.add(head)
                return head + citizen_check(head)
            born += timedelta(days=1)

    def companies(self, count: int) -> Iterator[Row]:
        """Yield rows of COMPANY_COLUMNS; with six letters drawn from 31 no two have the same code in practice."""
        for _ in range(count):
            yield self.company(self.now - timedelta(seconds=self._random.randrange(60, 90 * 86_400)))

    def company(self, changed: datetime) -> Row:
        """Return one company, last changed then."""
        draw = self._random
        region = draw.choice(REGIONS)
        body = "MA" + "".join(draw.choice(_USCC_ALPHABET) for _ in range(6))
        head = f"91{region}{body}{org_check(body)}"
        return (
            head + uscc_check(head),
            f"成都{draw.choice(GIVEN)}{draw.choice(GIVEN)}{draw.choice(TRADES)}有限公司",
            self.name(),
            f"{draw.randrange(1, 10**10) / 10**4:.4f}",
            f"{self.now.date() - timedelta(days=draw.randrange(15_000))}",
            draw.choices(("1", "2", "3"), (90, 6, 4))[0],
            "、".join(draw.sample(TRADES, 3)) + "；依法须经批准的项目，经相关部门批准后方可开展经营活动",
            f"成都市{draw.choice(STREETS)}{draw.randrange(1, 999)}号",
            region,
            stamp(changed),
        )

    def name(self) -> str:
        """Return a personal name; one in fifty has a rare character."""
        draw = self._random
        surname = draw.choice(COMPOUND) if draw.random() < 0.02 else draw.choice(SURNAMES)
        given = "".join(draw.choice(GIVEN) for _ in range(draw.choice((1, 2, 2))))
        return surname + (draw.choice(RARE) if draw.random() < 0.02 else "") + given


TAX_HEADER: Final = ("完税凭证号", "纳税人名称", "纳税人识别号", "金额(元)", "缴款日期", "税务机关")


@dataclass(frozen=True, slots=True)
class TaxDrop:
    """A CSV file as bytes, the good rows in it, and the reason word expected for each bad one."""

    content: bytes
    good: tuple[tuple[str, ...], ...]
    bad: tuple[str, ...]


def tax_drop(sampler: Sampler, count: int, first: int) -> TaxDrop:
    """Return a GB18030 file of `count` good rows with seven damaged ones among them."""
    draw = random.Random(sampler.seed + first)
    good: list[tuple[str, ...]] = []
    lines: list[bytes] = [_line(TAX_HEADER)]
    damage = dict(zip(sorted(draw.sample(range(10, count), len(_DAMAGE))), _DAMAGE, strict=True))
    for number in range(count):
        company = sampler.company(sampler.now)
        paid = sampler.now.date() - timedelta(days=draw.randrange(30))
        amount = f"{draw.randrange(10**7) / 100:.2f}"
        row = (f"PZ{first + number:08d}", str(company[2]), str(company[0]), amount, f"{paid}", "成都市税务局")
        good.append(row)
        lines.append(_line(row))
        if number in damage:
            lines.append(damage[number][1])
    return TaxDrop(b"".join(lines), tuple(good), tuple(reason for reason, _ in damage.values()))


def _line(cells: tuple[str, ...]) -> bytes:
    return (",".join(cells) + "\r\n").encode("gb18030")


_DAMAGE: Final[tuple[tuple[str, bytes], ...]] = (
    ("decimal_format", _line(("PZ90000001", "坏金额", "91510104MA61R0ABXX", "一千元", "2026-01-05", "成都市税务局"))),
    ("date_invalid", _line(("PZ90000002", "坏日期", "", "10.00", "2026-02-30", "成都市税务局"))),
    ("field_count", _line(("PZ90000003", "少列", "10.00"))),
    ("undecodable", b"PZ90000004,\xff\xff\xff,,10.00,2026-01-05,x\r\n"),
    ("key_missing", _line(("", "没有凭证号", "", "10.00", "2026-01-05", "成都市税务局"))),
    ("field_count", _line(("PZ90000006", "多列", "", "10.00", "2026-01-05", "成都市税务局", "多余"))),
    ("decimal_format", _line(("PZ90000007", "斜杠", "", "12/34", "2026-01-05", "成都市税务局"))),
)
