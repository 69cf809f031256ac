"""It imports what is not installed."""

import a_package_that_is_not_installed

from heartwood.api import Plugin


class Broken(Plugin):
    answer = a_package_that_is_not_installed.answer
