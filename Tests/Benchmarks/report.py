"""The table."""

import statistics


def milliseconds(values):
    """Median, and the range in brackets."""
    if not values:
        return "-"
    middle = statistics.median(values)
    if len(values) == 1:
        return f"{middle:.0f} ms"
    return f"{middle:.0f} ms ({min(values):.0f}-{max(values):.0f})"


def plain(values, unit, digits=1):
    if not values:
        return "-"
    text = f"{statistics.median(values):.{digits}f} {unit}"
    return text if len(values) == 1 else text + f" ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratio(ours, theirs):
    if not ours or not theirs or statistics.median(ours) <= 0:
        return "-"
    value = statistics.median(theirs) / statistics.median(ours)
    return f"{value:.1f}x" if value < 100 else f"{value:.0f}x"


class Table:
    """Rows of figures, a column for each contestant, and how many times Matriarch's the other ones' are: against the
    Matriarch of the same lifetime where there is one."""

    def __init__(self, contestants, title):
        self.contestants, self.title = contestants, title
        self.others = [one for one in contestants if not one.is_matriarch]
        self.rows = []

    def peer(self, other):
        ours = [one for one in self.contestants if one.is_matriarch]
        return next((one for one in ours if one.ttl == other.ttl), ours[0])

    def add(self, title, figures, form):
        """`figures`: contestant's name -> values; `form` writes the values of one cell."""
        if not any(figures.get(one.name) for one in self.contestants):
            return
        row = [title] + [form(figures.get(one.name, [])) for one in self.contestants]
        row += [ratio(figures.get(self.peer(one).name), figures.get(one.name)) for one in self.others]
        self.rows.append(row)

    def note(self, title, text):
        """A row with one figure that is nobody's."""
        self.rows.append([title, text] + [""] * (len(self.contestants) - 1 + len(self.others)))

    def __str__(self):
        head = [self.title, *[one.name for one in self.contestants]]
        head += [f"{one.name} / {self.peer(one).name}" for one in self.others]
        widths = [max(len(row[column]) for row in [head, *self.rows]) for column in range(len(head))]

        def line(row):
            return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"

        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([line(head), rule, *[line(row) for row in self.rows]])
