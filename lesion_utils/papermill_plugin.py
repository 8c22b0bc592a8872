"""What papermill loads of this package: it writes a parameter as `name = value` into a cell, and a name may be code."""

from papermill.engines import NBClientEngine  # papermill's own: an entry point must name an engine
from papermill.translators import PythonTranslator, papermill_translators

from lesion_utils.errors import InputError

__all__ = ["NBClientEngine"]


class NamesOnly(PythonTranslator):
    @classmethod
    def assign(cls, name: str, str_val: str) -> str:
        if not str(name).isidentifier():
            where = "Expected the name of a parameter of the notebook. Fix: correct the file of parameters."
            raise InputError(f"the parameter {str(name)[:60]!r} is not a name. {where}")
        return super().assign(name, str_val)


papermill_translators.register("python", NamesOnly)
