"""What a page of one run must say, from metrics.jsonl, decisions.jsonl, launch.json and the logits that
lockstep evaluate writes: section by section, in the order of the page."""

import math
import re

BINS = 15
MOST_ERRORS = 24
PHASES = ("data", "forward", "backward", "communication", "optimizer", "other")


def same(shown, value):
    """Equal but for the order in which ten thousand numbers were summed."""
    return math.isclose(shown, value, rel_tol=1e-12, abs_tol=1e-13)


def reads_as(section, text, value):
    """Whether a number on a page is `value` to the digits that are shown: a percentage, a time or a number."""
    text = text.replace("\xa0", " ").replace(",", "")
    if section == "confusion" and "." in text:
        text += " %"  # said once, above the matrix
    times = re.fullmatch(r"(?:(\d+) h )?(?:(\d+) min)?(?: ?([\d.]+) s)?", text)
    if times and text:
        hours, minutes, seconds = times.groups()
        step = 60 if seconds is None else 0.1 if "." in seconds else 1
        return abs(3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds or 0) - value) <= 0.51 * step
    number, percent = (text[:-2], 100) if text.endswith(" %") else (text, 1)
    if number[:2] in ("< ", "> "):
        bound = float(number[2:])
        return 0 < percent * value < bound if number[0] == "<" else bound < percent * value < 100
    mantissa, _, power = number.partition("e")
    step = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    return abs(float(number) - percent * value) <= 0.51 * step


def softmax(logits):
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def predictions(logits, labels):
    """(label, prediction, probabilities) of each sample."""
    classes = len(logits) // len(labels)
    rows = [logits[i * classes:(i + 1) * classes] for i in range(len(labels))]
    return [(label, row.index(max(row)), softmax(row)) for label, row in zip(labels, rows)]


def calibration(predicted):
    """(mean confidence, expected calibration error, [(samples, confidence, accuracy) of each bin in use])."""
    bins = [[] for _ in range(BINS)]
    for label, best, probabilities in predicted:
        bins[max(0, math.ceil(probabilities[best] * BINS) - 1)].append((probabilities[best], best == label))
    table = [(len(b), math.fsum(p for p, _ in b) / len(b), sum(right for _, right in b) / len(b)) for b in bins if b]
    error = math.fsum(n * abs(confidence - accuracy) for n, confidence, accuracy in table) / len(predicted)
    return math.fsum(n * confidence for n, confidence, _ in table) / len(predicted), error, table


def errors(predicted):
    """(image, label, prediction, its probability, the label's) of all errors, the largest gap first."""
    wrong = [(i, label, best, probabilities[best], probabilities[label])
             for i, (label, best, probabilities) in enumerate(predicted) if best != label]
    return sorted(wrong, key=lambda error: error[4] - error[3])


def wrong_in(confusion):
    return sum(map(sum, confusion)) - sum(row[i] for i, row in enumerate(confusion))


def ratio(part, whole):
    return [part / whole] if whole else []  # a dash is no number


def class_row(confusion, c):
    right, images, taken = confusion[c][c], sum(confusion[c]), sum(row[c] for row in confusion)
    return [*ratio(right, taken), *ratio(right, images), *ratio(2 * right, images + taken),
            images, images - right, taken - right]


def phases(record):
    return [record["seconds"][phase] for phase in PHASES]


def time_rows(epochs):
    ranks = len(epochs[-1]["seconds"]["by_rank"]["data"])
    rows = []
    for rank in range(ranks):
        spent = [math.fsum(epoch["seconds"]["by_rank"][phase][rank] for epoch in epochs) for phase in PHASES]
        rows.append([*(seconds / math.fsum(spent) for seconds in spent), math.fsum(spent)])
    return rows


def best_validation(records, decisions):
    step = [decision["step"] for decision in decisions if decision["best"]][-1]
    return next(r for r in records if r["kind"] == "validation" and r["step"] == step)


def numbers(records, decisions, launch, logits, labels):
    """{section: [exact numbers]}; "" is the head of the page. Of a finished run with test data."""
    of_kind = {kind: [r for r in records if r["kind"] == kind] for kind in ("train", "validation", "test")}
    test, epochs = of_kind["test"][0], of_kind["train"]
    best = best_validation(records, decisions)
    predicted = predictions(logits, labels)
    confidence, calibration_error, bins = calibration(predicted)
    seconds = math.fsum(math.fsum(phases(epoch)) for epoch in epochs)
    images = math.fsum(epoch["samples_per_second"] * math.fsum(phases(epoch)) for epoch in epochs)
    samples, wrong = test["samples"], wrong_in(test["confusion"])
    shown_errors = errors(predicted)[:MOST_ERRORS]
    most = max(count for i, row in enumerate(test["confusion"]) for j, count in enumerate(row) if i != j)
    splits = [launch["data"][name] for name in ("training", "validation", "test")]
    return {
        "": [test["accuracy"], samples, wrong,
             test["accuracy"], wrong, samples, test["loss"],
             best["accuracy"], best["epoch"], best["loss"], best["epoch"],
             calibration_error, images / seconds, seconds],
        "curves": [],
        "confusion": [samples, most, *(number for row in test["confusion"] for count in row if count
                                       for number in (count, count / sum(row)))],
        "errors": [samples, len(shown_errors), *(number for error in shown_errors for number in (error[4], error[3]))],
        "by-class": [samples, *(number for c in range(10) for number in class_row(test["confusion"], c))],
        "calibration": [samples, confidence, test["accuracy"], calibration_error,
                        *(number for row in bins for number in row)],
        "epochs": [number for epoch, validation in zip(epochs, of_kind["validation"])
                   for number in (epoch["epoch"], epoch["loss"], epoch["accuracy"], validation["loss"],
                                  validation["accuracy"], epoch["learning_rate"], epoch["samples_per_second"],
                                  math.fsum(phases(epoch)))],
        "decisions": [decision["metric_after"] for decision in decisions],
        "time": [number for row in time_rows(epochs) for number in row],
        "frequencies": [*(split["class_counts"][c] for c in range(10) for split in splits),
                        *(split["samples"] for split in splits)],
        "machine": [],
        "settings": [],
    }
