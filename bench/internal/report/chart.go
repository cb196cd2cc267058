package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Sizes of a chart. The names of the lines stand beside it, away from the lines.
const (
	width  = 8.5 * vg.Inch
	height = 4.2 * vg.Inch
	names  = 1.5 * vg.Inch
	margin = 0.1 * vg.Inch
)

// colours can be told apart by most who do not see all colours (Okabe and Ito).
var colours = []color.Color{
	color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff},
	color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
	color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
	color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
	color.RGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff},
}

// SVG draws the chart.
func (c Chart) SVG() ([]byte, error) {
	p := plot.New()
	p.BackgroundColor = color.White // a page may be dark
	p.Title.Text, p.Title.Padding = c.Title, vg.Points(6)
	p.Add(plotter.NewGrid())
	legend := plot.NewLegend()
	legend.Top, legend.Left, legend.Padding = true, true, vg.Points(3)
	for i, l := range c.Lines {
		if err := l.draw(p, &legend, i); err != nil {
			return nil, fmt.Errorf("%s: %w", l.Contender, err)
		}
	}
	c.X.set(&p.X)
	c.Y.set(&p.Y)
	if !c.Y.Log {
		p.Y.Min = 0
	}
	svg := vgsvg.New(width, height)
	all := draw.New(svg)
	all.SetColor(color.White)
	all.Fill(all.Path())
	p.Draw(draw.Crop(all, margin, -names, margin, -margin))
	legend.Draw(draw.Crop(all, width-names+margin, 0, 0, -4*margin))
	var b bytes.Buffer
	_, err := svg.WriteTo(&b)
	return b.Bytes(), err
}

// fewPoints is how many points of a line are marked.
const fewPoints = 12

func (l Line) draw(p *plot.Plot, legend *plot.Legend, i int) error {
	points := make(plotter.XYs, len(l.Points))
	for n, at := range l.Points {
		points[n] = plotter.XY{X: at[0], Y: at[1]}
	}
	line, marks, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Width, line.Color = vg.Points(1.6), colours[i%len(colours)]
	marks.Color, marks.Shape = line.Color, draw.CircleGlyph{}
	p.Add(line)
	if len(points) <= fewPoints {
		p.Add(marks)
	}
	legend.Add(l.Contender, line)
	return nil
}

func (a Axis) set(axis *plot.Axis) {
	axis.Label.Text, axis.Label.Padding = a.Label, vg.Points(4)
	axis.Tick.Marker = plot.TickerFunc(briefTicks)
	if a.Log {
		axis.Scale, axis.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if a.Ticks != nil {
		axis.Tick.Marker = plot.ConstantTicks(ticks(a.Ticks))
	}
	if axis.Min == axis.Max {
		axis.Max = math.Nextafter(axis.Max, math.Inf(1)) + 1
	}
}

// briefTicks are the usual ones, without decimals that are 0.
func briefTicks(least, most float64) []plot.Tick {
	all := plot.DefaultTicks{}.Ticks(least, most)
	for i, t := range all {
		if t.Label != "" {
			all[i].Label = number(t.Value)
		}
	}
	return all
}

func ticks(at []float64) []plot.Tick {
	var out []plot.Tick
	for _, x := range at {
		out = append(out, plot.Tick{Value: x, Label: number(x)})
	}
	return out
}
