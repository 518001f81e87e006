"""Region codes, 行政区划代码, GB/T 2260: 6 digits, 9 with the town (GB/T 10114), 12 in statistics.

Only the province is looked at: districts come and go, and historic codes stay valid in old records.
"""

from __future__ import annotations

from typing import Final

from agent.standards.judgement import OK, Judgement, error, warn

PROVINCES: Final = {
    "11": "北京",
    "12": "天津",
    "13": "河北",
    "14": "山西",
    "15": "内蒙古",
    "21": "辽宁",
    "22": "吉林",
    "23": "黑龙江",
    "31": "上海",
    "32": "江苏",
    "33": "浙江",
    "34": "安徽",
    "35": "福建",
    "36": "江西",
    "37": "山东",
    "41": "河南",
    "42": "湖北",
    "43": "湖南",
    "44": "广东",
    "45": "广西",
    "46": "海南",
    "50": "重庆",
    "51": "四川",
    "52": "贵州",
    "53": "云南",
    "54": "西藏",
    "61": "陕西",
    "62": "甘肃",
    "63": "青海",
    "64": "宁夏",
    "65": "新疆",
    "71": "台湾",
    "81": "香港",
    "82": "澳门",
}
"""First two digits → province [G]. 66 is met for 新疆生产建设兵团 and is not in the standard."""

_LENGTHS: Final = (6, 9, 12)


def judge(value: str) -> Judgement:
    """Judge one code; an unknown province is a warning."""
    if len(value) not in _LENGTHS or not (value.isascii() and value.isdigit()):
        return error("region_shape")
    return OK if value[:2] in PROVINCES else warn("region_head")
