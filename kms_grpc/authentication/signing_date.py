"""The date of a signed request: `x-amz-date`, else `Date`.

| header | forms |
|---|---|
| x-amz-date | `20260131T120000Z`, ISO 8601's basic format |
| Date | the same, or HTTP's: `Sat, 31 Jan 2026 12:00:00 GMT` and the two obsolete forms of RFC 9110 §5.6.7 |

The string to sign has the basic format, whichever form was sent. Source:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from kms_grpc.errors import IncompleteSignatureException

AMZ_DATE: Final = b"x-amz-date"
HTTP_DATE: Final = b"date"

_BASIC: Final = re.compile(rb"([12]\d{3})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3])([0-5]\d)([0-5]\d)Z")
_DAY: Final = rb"(?P<day>0[1-9]|[12]\d|3[01])"
_MONTH: Final = rb"(?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME: Final = rb"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)"
_HTTP: Final = tuple(
    re.compile(form)
    for form in (
        rb"[A-Z][a-z]{2}, " + _DAY + b" " + _MONTH + rb" (?P<year>[12]\d{3}) " + _TIME + b" GMT",
        rb"[A-Z][a-z]{5,8}, " + _DAY + b"-" + _MONTH + rb"-(?P<year>\d{2}) " + _TIME + b" GMT",
        rb"[A-Z][a-z]{2} " + _MONTH + rb" (?P<day>[ 012]\d|3[01]) " + _TIME + rb" (?P<year>[12]\d{3})",
    )
)
_MONTHS: Final = dict(zip(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), range(1, 13), strict=True))


def date_header(headers: Mapping[bytes, bytes]) -> bytes:
    """Returns the name of the header that dates a request. Raises IncompleteSignatureException if there is none."""
    for name in (AMZ_DATE, HTTP_DATE):
        if name in headers:
            return name
    raise IncompleteSignatureException(
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
    )


@lru_cache(64)
def basic_format(name: bytes, stated: bytes) -> bytes:
    """Returns the value of header `name` in the basic format. Raises IncompleteSignatureException if it is not a
    date."""
    if _BASIC.fullmatch(stated):
        return stated
    moment = _from_http(stated) if name == HTTP_DATE else None
    if moment is None:
        raise IncompleteSignatureException("Date must be in ISO-8601 'basic format', e.g. 20260131T120000Z.")
    return moment


@lru_cache(64)
def seconds_of(moment: bytes) -> int:
    """Returns the seconds since 1970 of a date in the basic format."""
    found = _BASIC.fullmatch(moment)
    assert found is not None
    return calendar.timegm(tuple(map(int, found.groups())))


def text_of(seconds: int) -> str:
    """Returns the date in the basic format of seconds since 1970."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def _from_http(stated: bytes) -> bytes | None:
    found = next((match for form in _HTTP if (match := form.fullmatch(stated))), None)
    if found is None:
        return None
    year, month = found["year"], _MONTHS[found["month"]]
    century = b"20" if len(year) == 2 else b""
    day = found["day"].replace(b" ", b"0")
    return b"%b%b%02d%bT%b%b%bZ" % (century, year, month, day, found["hour"], found["minute"], found["second"])
