"""Figures that were saved, kept to be read back."""

from tinybrain.style import save_figure


def keep_figures(monkeypatch, *modules):
    """The figures that these modules save from now on, besides their files."""
    kept = []

    def keep(figure, path):
        kept.append(figure)
        return save_figure(figure, path)

    for module in modules:
        monkeypatch.setattr(module, "save_figure", keep)
    return kept
