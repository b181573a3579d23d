"""A notebook trains on an array of its own, sees how far it is, and looks at samples."""

import cli
import nbformat
from nbclient import NotebookClient

CELLS = (
    """
import numpy as np
import gen_jax

rng = np.random.default_rng(0)
images = (rng.random((90, 6, 6)) < 0.5).astype(np.uint8) * 255
""",
    """
run = gen_jax.fit(
    "experiments/vae_digits.py:smoke",
    workdir=WORKDIR,
    arrays={"x": images},
    **{"data.num_validation": 10, "model.hidden": (16,)},
)
""",
    "run.show()",
    "run",
    'run.evaluate("elbo")',
    "run.metrics",
    "run.subject, run.experiment",
    """
x = run.data("test", num=4)["x"]
run.show(run.interpolate(x[0], x[1]))
""",
)
WRONG = "run.sample(0)"


def test_fit_and_show(tmp_path):
    notebook = nbformat.v4.new_notebook()
    start = f"import os; os.chdir({str(cli.ROOT)!r}); WORKDIR = {str(tmp_path / 'run')!r}"
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in (start, *CELLS)]
    notebook.cells.append(nbformat.v4.new_code_cell(WRONG))
    NotebookClient(notebook, timeout=None, allow_errors=True).execute()
    (error,) = [o for cell in notebook.cells for o in cell.outputs if o.output_type == "error"]
    assert error.traceback == ["UserError: num=0 must be a whole number of at least 1"]
    notebook.cells.pop()
    _, _, fit, show, card, figures, log, parts, line = (c.outputs for c in notebook.cells)
    shown = [o.data["text/html"] for o in fit if "text/html" in o.get("data", {})]
    bars = [html for html in shown if "<progress" in html]
    assert len(bars) == 1 and '<progress value="20" max="20"' in bars[0], fit
    assert "loss " in bars[0] and "examples/s" in bars[0] and "0:00 left" in bars[0]
    said = "".join(shown)
    assert "20 steps" in said and "step 20: validation/elbo" in said
    assert "step 20/20" not in said, "the bar says so already"
    assert any("image/png" in output.data for output in show)
    assert len(card[0].data["text/plain"]) < 200
    shown = card[0].data["text/html"]
    assert "<td" in shown and "vae " in shown and "validation/elbo" in shown
    assert "data:image/png;base64," in shown
    assert "lower bound" in figures[0].data["text/html"]
    assert "<th" in log[0].data["text/html"] and "loss/vae" in log[0].data["text/html"]
    # No weights, and no dump of a config.
    assert len(parts[0].data["text/plain"]) < 300
    assert "image/png" in line[0].data


def test_the_notebook_of_the_documents(tmp_path):
    """It runs from its first cell to its last, in a folder of its own."""
    notebook = nbformat.read(cli.ROOT / "docs" / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    start = f"import os, sys; sys.path.insert(0, {str(cli.ROOT)!r}); os.chdir({str(tmp_path)!r})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(start))
    NotebookClient(notebook, timeout=None).execute()
    shown = [o for cell in notebook.cells for o in cell.get("outputs", ()) if "data" in o]
    assert sum("image/png" in output.data for output in shown) == 4
    assert (tmp_path / "runs" / "digits.md").exists()
