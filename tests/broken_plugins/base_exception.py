"""It raises at import what ``except Exception`` does not catch."""


class Unheard(BaseException):
    """It comes through where only exceptions are caught."""


msg = "at import"
raise Unheard(msg)
