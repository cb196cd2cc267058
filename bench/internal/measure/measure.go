// Package measure takes samples of contenders in turn, and makes figures of them.
package measure

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
)

// A Contender is one of those that a row compares.
type Contender struct {
	Name string

	// Every makes the contender take part in every n-th step only: one whose
	// sample takes long would make the others wait. 0 is 1.
	Every int

	// Sample does the work once and returns the figure.
	Sample func(context.Context) (float64, error)

	// More returns further figures of the sample that has just been taken, each
	// under the name that it has in Samples. nil: there are none.
	More func() (map[string]float64, error)
}

// A Plan is how many samples are taken.
type Plan struct {
	Warm    int // steps whose samples are thrown away, before the first round
	Rounds  int // each has its own median and p99, and so its own ratios
	Samples int // steps of a round
}

// Samples are what Alternate has taken: by contender, by round.
type Samples map[string][][]float64

// Alternate takes the plan's samples. In each step every contender takes one,
// in an order that is shuffled anew, so that whatever disturbs the machine
// disturbs all of them alike, and none always runs behind the same other one.
func Alternate(ctx context.Context, p Plan, contenders []Contender) (Samples, error) {
	taken := Samples{}
	for round := range p.Rounds + 1 {
		steps := p.Samples
		if round == 0 {
			steps = p.Warm
		}
		some, err := one(ctx, steps, contenders)
		if err != nil {
			return nil, err
		}
		if round == 0 {
			continue
		}
		for name, s := range some {
			taken[name] = append(taken[name], s)
		}
	}
	return taken, nil
}

func one(ctx context.Context, steps int, contenders []Contender) (map[string][]float64, error) {
	taken := map[string][]float64{}
	order := slices.Clone(contenders)
	for step := range steps {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, c := range order {
			if step%max(c.Every, 1) != 0 {
				continue
			}
			if err := c.take(ctx, taken); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
		}
	}
	return taken, nil
}

// take adds the figures of one sample.
func (c Contender) take(ctx context.Context, to map[string][]float64) error {
	value, err := c.Sample(ctx)
	if err != nil {
		return err
	}
	to[c.Name] = append(to[c.Name], value)
	if c.More == nil {
		return nil
	}
	more, err := c.More()
	for name, value := range more {
		to[name] = append(to[name], value)
	}
	return err
}
