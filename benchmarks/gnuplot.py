"""Pictures of the benchmarks' figures, by gnuplot."""
import shutil
import subprocess


def require(parser):
    """Ends with a usage error where there is no gnuplot."""
    if shutil.which("gnuplot") is None:
        parser.error("--picture needs gnuplot")


def draw(path, width, height, commands):
    """An SVG or PNG (pixels) by the file's name, on white."""
    terminal = "pngcairo background rgb 'white'" if path.suffix == ".png" else "svg background 'white'"
    script = f"""
set terminal {terminal} noenhanced size {width},{height} font ',13'
set output '{path}'
set border 3
set tics nomirror
{commands}
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
