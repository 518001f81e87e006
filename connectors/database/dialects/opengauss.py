"""openGauss and GaussDB through psycopg2.

What is special to them comes from the vendor's documents; it was never run against a server.
"""

from __future__ import annotations

from agent.errors import HuitongError, SourceRefused
from agent.i18n import N_
from connectors.database.dialects.base import first_line
from connectors.database.dialects.kingbase import PostgresLike

_FOREIGN_LOGIN = ("authentication method 10 not supported", "SASL authentication", "none of the server's SASL")


class OpengaussDatabase(PostgresLike):
    """An openGauss or GaussDB database. The account needs nothing but SELECT.

    By default its password is kept in a form (sha256) that no driver but the vendor's own can use: either the vendor's build of
    psycopg2 takes the place of the one from PyPI, or the server has password_encryption_type = 1 and the password of the
    account is set again. In the mode that imitates Oracle the empty string is NULL.
    """

    name = "opengauss"

    def translate(self, error: BaseException, *, connecting: bool) -> HuitongError:
        """See Database."""
        if connecting and any(words in str(error) for words in _FOREIGN_LOGIN):
            return SourceRefused(
                N_("the server wants a kind of password that this driver does not know: {why}"),
                hint=N_(
                    "install the vendor's build of psycopg2, or let the DBA set password_encryption_type = 1 and then set the "
                    "password of the account again"
                ),
                why=first_line(error),
            )
        return super().translate(error, connecting=connecting)
