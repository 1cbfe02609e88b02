"""How samples become inputs, and outputs answers: as f3-tch does it, in the same precision."""

import numpy as np
import torch


class Inputs:
    """From samples to inputs [N, n_0], float32."""

    def __init__(self, about, table):
        (self.kind, self.about), = about.items()
        self.number = np.float32 if table["kind"] == "float" else np.float64

    def prepare(self, samples):
        return self.image(samples) if self.kind == "image" else self.table(samples)

    def image(self, pixels):
        channels, height, width = shape = self.about["shape"]
        pixels = torch.as_tensor(pixels)
        shapes = [shape, [channels * height * width], *([[height, width]] if channels == 1 else [])]
        if pixels.dim() < 2 or list(pixels.shape[1:]) not in shapes:
            expected = " or ".join(str(["N", *it]).replace("'", "") for it in shapes)
            raise ValueError(f"pixels {list(pixels.shape)}; expected {expected}")
        scaling = self.about["scaling"]
        means, deviations = (
            torch.tensor([it[name] for it in scaling], dtype=torch.float32).view(-1, 1)
            for name in ("mean", "standard_deviation")
        )
        planes = pixels.to(torch.float32).reshape(len(pixels), channels, -1) / self.about["largest"]
        return ((planes - means) / deviations).flatten(1)

    def table(self, samples):
        about = self.about["columns"]
        cells = columns(samples, [column["name"] for column in about])
        prepared = [self.column(column, next(cells)) for column in about]
        return torch.from_numpy(np.concatenate(prepared, axis=1))

    def column(self, column, cells):
        """The numbers [N, width] that a column of cells becomes."""
        name, coding = column["name"], column["coding"]
        cells = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
        cells = [None if self.is_missing(cell) else cell for cell in cells]  # None: the value is missing
        if coding == "number":
            fill = column.get("fill", np.nan)
            filled = [fill if cell is None else number(cell) for cell in cells]
            numbers = np.asarray(filled, dtype=self.number).astype(np.float64)[:, None]
            for place, cell in enumerate(cells):
                if not np.isfinite(numbers[place, 0]):
                    found = "missing" if cell is None else f"`{cell}`"
                    raise ValueError(f"row {place}, column `{name}`: is {found}; expected a finite number")
        else:
            (kind, values), = coding.items()
            places = Places(values)
            unseen = len(values) if column.get("unseen") else None
            found = []
            for cell in cells:
                place = places.of(self.name_of_missing() if cell is None else cell)
                place = unseen if place is None else place
                if place is None:
                    raise ValueError(f"column `{name}`: is `{cell}`; expected one of {', '.join(values)}")
                found.append(place)
            found = np.array(found)
            width = len(values) + (unseen is not None)
            numbers = np.eye(width)[found] if kind == "one_hot" else found[:, None].astype(np.float64)
        if column["scaling"]:
            means, deviations = constants(column["scaling"])
            numbers = (numbers - means) / deviations
        return numbers.astype(np.float32)

    def is_missing(self, cell):
        """Whether a cell is None, NaN, pandas.NA, or one of the markers of the training set."""
        if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
            return True
        markers = self.about.get("missing", [])
        is_nan = isinstance(cell, (float, np.floating)) and cell != cell
        return is_nan or str(cell) in markers or any(number(it) == number(cell) for it in markers)

    def name_of_missing(self):
        """What a missing value of a column of names is called."""
        return next(iter(self.about.get("missing", [])), "") or "(missing)"


class Targets:
    """From outputs [N, C] to answers."""

    def __init__(self, about, loss):
        (self.kind, self.about), = about.items()
        self.classes = self.about if self.kind == "classes" else None
        self.loss = loss

    def answer(self, outputs):
        if self.classes:
            return outputs.softmax(-1) if self.loss == "cross_entropy" else outputs
        if not self.about["scaling"]:
            return outputs
        means, deviations = constants(self.about["scaling"])
        return outputs.double().cpu() * torch.from_numpy(deviations) + torch.from_numpy(means)


class Places:
    """Where the values of a column of names stand among those that training has seen."""

    def __init__(self, values):
        self.values = values
        self.places = {value: place for place, value in enumerate(values)}
        self.others = {}  # cells that are numbers or truth values, and are spelled otherwise

    def of(self, cell):
        """The place of a cell, if it is known. Numbers and truth values are known however a table spells them:
        1.0 is the cell `1.0` or `01`, True the cell `true`."""
        name = text(cell)
        if name in self.places or isinstance(cell, str):
            return self.places.get(name)
        if name not in self.others:
            same = [value for value in self.values if is_same(value, cell)]
            self.others[name] = self.places[same[0]] if len(same) == 1 else None
        return self.others[name]


def is_same(value, cell):
    """Whether a cell of a table reads as this number or truth value."""
    if isinstance(cell, (bool, np.bool_)):
        return value.lower() == str(cell).lower()
    return number(value) == number(cell)


def text(cell):
    """A cell as it stands in a table: a whole number without a point."""
    is_whole = isinstance(cell, (float, np.floating)) and float(cell).is_integer()
    return str(int(cell)) if is_whole else str(cell)


def number(cell):
    """The number that a cell is or reads as, else NaN."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return np.nan


def columns(samples, names):
    """The cells of each of these columns: of a list of rows, dictionaries; of something that has columns,
    such as a DataFrame; or of an array [N, m] that has just these columns in this order."""
    if isinstance(samples, dict) and not any(np.ndim(cells) for cells in samples.values()):
        samples = [samples]  # a single row
    if isinstance(samples, list) and samples and isinstance(samples[0], dict):
        keys = {str(key).strip(): key for key in samples[0]}
        column = lambda key: [row[key] for row in samples]
    elif hasattr(samples, "keys"):
        keys = {str(key).strip(): key for key in samples.keys()}
        column = lambda key: list(samples[key])
    else:
        array = np.asarray(samples)
        if array.ndim != 2 or array.shape[1] != len(names):
            raise ValueError(f"samples {list(array.shape)}; expected rows with columns, or [N, {len(names)}]")
        keys = {name: place for place, name in enumerate(names)}
        column = lambda place: array[:, place].tolist()
    for name in names:
        if name not in keys:
            raise ValueError(f"the samples have no column `{name}`")
        try:
            yield column(keys[name])
        except KeyError:
            raise ValueError(f"a sample has no column `{name}`") from None


def constants(scaling):
    """All means, and all standard deviations."""
    return [np.array([it[name] for it in scaling]) for name in ("mean", "standard_deviation")]
