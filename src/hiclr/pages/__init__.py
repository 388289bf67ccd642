"""What the HTML pages and the model card are made of: templates, scripts and styles."""

from importlib.resources import files


def read_page(name: str) -> str:
    """The text of a file that lies here."""
    return files("hiclr").joinpath("pages", name).read_text(encoding="utf-8")
