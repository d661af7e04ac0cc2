"""Run the notebooks in place and strip what changes from run to run: `make notebooks`, or name some notebooks."""

import base64
import io
import os
import re
import sys
from pathlib import Path

import nbformat
import papermill
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
LARGE = 60_000  # bytes of a PNG that is photos rather than lines


def is_progress_bar(output) -> bool:
    """Whether an output is what tqdm wrote, as a widget or as text."""
    return WIDGET in output.get("data", {}) or bool(re.search(r"\d%\||\d+it \[", output.get("text", "")))


def clean(notebook):
    """The notebook without timings, run metadata, progress bars and object addresses; changed in place."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if not is_progress_bar(output)]
        for output in cell.outputs:
            output.pop("metadata", None) if output.output_type == "stream" else output.update(metadata={})
            if "text" in output:
                output.text = without_addresses(output.text)
            for mime in output.get("data", {}):
                if mime.startswith("text/"):
                    output.data[mime] = without_addresses(output.data[mime])
            if len(output.get("data", {}).get("image/png", "")) * 3 / 4 > LARGE:
                output.data["image/jpeg"] = as_jpeg(output.data.pop("image/png"))
    return notebook


def as_jpeg(png: str) -> str:
    """A picture of photos, base64 as notebooks hold it, in about a fifth of the bytes."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").save(buffer, "JPEG", quality=80, subsampling=0)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def main() -> None:
    os.environ["PYTHONPATH"] = str(NOTEBOOKS.parent)  # these modules, whatever pip has installed
    for path in [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        papermill.execute_notebook(path, path, cwd=path.parent, kernel_name="python3", progress_bar=False)
        nbformat.write(clean(nbformat.read(path, as_version=4)), path)
        print(f"refreshed {path.name}")


if __name__ == "__main__":
    main()
