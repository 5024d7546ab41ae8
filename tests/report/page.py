"""A page of a report as a program reads it."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "path", "rect", "polygon", "polyline", "circle"}


class Page(HTMLParser):
    """faults: what is no good HTML or keeps people out. values: {data-key: the exact value in it}.
    numbers: {section: all of its exact values, in order}; "" is what lies outside of sections. cells: those in
    table cells, row by row. shown: (section, text, value)
    of all. text: what can be read."""

    def __init__(self, html):
        super().__init__()
        self.faults, self.values, self.cells, self.shown, self.text = [], {}, {}, [], ""
        self.numbers = {"": []}
        self.open, self.ids, self.key, self.section, self.hidden = [], set(), None, None, 0
        self.feed(html)
        self.close()
        if self.open:
            self.faults.append(f"never closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        values = dict(attributes)
        if len(names) != len(set(names)):
            self.faults.append(f"<{tag}> has an attribute twice: {names}")
        if "id" in values:
            if values["id"] in self.ids:
                self.faults.append(f"id {values['id']} is there twice")
            self.ids.add(values["id"])
        if tag == "img" and not values.get("alt"):
            self.faults.append("<img> without an alternative text")
        if tag == "svg" and (values.get("role") != "img" or "aria-labelledby" not in values):
            self.faults.append("<svg> without a name")
        if tag in ("script", "iframe", "object", "form") or any(name.startswith("on") for name in names):
            self.faults.append(f"<{tag} {names}> has no business here")
        for name in ("src", "href", "xlink:href"):
            if not values.get(name, "data:").startswith("data:"):
                self.faults.append(f"<{tag} {name}={values[name]}> leads out of the page")
        if tag == "section":
            self.section = values["id"]
            self.cells[self.section], self.numbers[self.section] = [], []
        if tag == "tr" and self.section:
            self.cells[self.section].append([])
        if "data-key" in values:
            self.key = values["data-key"]
        if tag == "data":
            value = float(values["value"])
            self.shown.append((self.section or "", "", value))
            self.numbers[self.section or ""].append(value)
            if self.key:
                self.values.setdefault(self.key, value)
            if self.section and self.cells[self.section] and "tr" in self.open:
                self.cells[self.section][-1].append(value)
        if tag in ("style", "title"):
            self.hidden += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
            return
        self.open.pop()
        if tag in ("style", "title"):
            self.hidden -= 1
        if tag in ("dd", "b"):
            self.key = None
        if tag == "section":
            self.section = None

    def handle_data(self, data):
        if not self.hidden:
            self.text += data
        if "data" in self.open:
            section, text, value = self.shown[-1]
            self.shown[-1] = (section, text + data, value)
