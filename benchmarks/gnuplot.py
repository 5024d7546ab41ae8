"""Pictures of the benchmarks' figures, by gnuplot."""
import subprocess


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
