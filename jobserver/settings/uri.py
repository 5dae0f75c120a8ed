"""A MongoDB URI that may be shown: in a log, on a terminal, in an error."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/?#]*@|(?<=://).*@(?=[^@]*$)")
_SECRET_OPTION = re.compile(r"([?&](?:tlsCertificateKeyFilePassword|authMechanismProperties)=)[^&]*", re.IGNORECASE)


def without_credentials(uri: str) -> str:
    """The URI less user, password and the options that hold secrets."""
    return _SECRET_OPTION.sub(r"\1…", _CREDENTIALS.sub("", uri))
