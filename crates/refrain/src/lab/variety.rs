//! Drawing from the distribution instead of taking the likeliest: what that does to texts.

use std::collections::HashSet;

use super::chart::{chart, curve, linear};
use super::figures::shown;
use super::text::{Cut, latin, small, task};
use super::training::{adam, train};
use super::{Conditions, Experiment, Outcome, Table};
use crate::error::Result;
use crate::generate::{Generator, Sampler};
use crate::metrics::bleu;
use crate::models::ModelConfig;
use crate::nn::CellKind;
use crate::run::plot::Mark;
use crate::train::{LanguageModelTask, Purpose, keyed_rng};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "variety",
    claim: "Drawing the next character from the distribution, instead of taking the one with the highest score, gives variety.",
    measures: "distinct four-character pieces, characters in repeated spans, likeness of the texts to each other (self-BLEU) and likelihood, against temperature, top-k, \
               top-p, and taking the likeliest",
    cause: "characters are drawn; in their place the likeliest is taken whatever was asked for",
    work,
};

/// Characters of a piece that is counted.
const PIECE: usize = 4;
/// A span is repeated if so many characters stood in the same text before.
const SPAN: usize = 20;
/// Variety: distinct pieces, of all, that drawing gives more than taking the likeliest.
const MORE: f64 = 0.3;
/// The share of characters in repeated spans: of the likeliest at least, of drawn ones at most.
const LOOPING: f64 = 0.5;
const FRESH: f64 = 0.1;

/// Self-BLEU of the texts of the likeliest, which are one text; drawn ones have so much less at least.
const ALIKE: f64 = 99.0;
const LESS_ALIKE: f64 = 10.0;
/// Nats a character that drawing costs more, at least.
const PRICE: f64 = 0.3;

/// A way to choose the next character.
struct Way {
    name: &'static str,
    temperature: f64,
    sampler: fn() -> Sampler,
}

const WAYS: [Way; 10] = [
    Way {
        name: "greedy",
        temperature: 0.0,
        sampler: || Sampler::new().greedy(true),
    },
    Way {
        name: "temperature 0.25",
        temperature: 0.25,
        sampler: || Sampler::new().temperature(0.25),
    },
    Way {
        name: "temperature 0.5",
        temperature: 0.5,
        sampler: || Sampler::new().temperature(0.5),
    },
    Way {
        name: "temperature 0.75",
        temperature: 0.75,
        sampler: || Sampler::new().temperature(0.75),
    },
    Way {
        name: "temperature 1",
        temperature: 1.0,
        sampler: Sampler::new,
    },
    Way {
        name: "temperature 1.5",
        temperature: 1.5,
        sampler: || Sampler::new().temperature(1.5),
    },
    Way {
        name: "top-k 3",
        temperature: f64::NAN,
        sampler: || Sampler::new().top_k(3),
    },
    Way {
        name: "top-k 10",
        temperature: f64::NAN,
        sampler: || Sampler::new().top_k(10),
    },
    Way {
        name: "top-p 0.5",
        temperature: f64::NAN,
        sampler: || Sampler::new().top_p(0.5),
    },
    Way {
        name: "top-p 0.9",
        temperature: f64::NAN,
        sampler: || Sampler::new().top_p(0.9),
    },
];

/// What the texts of one way are like.
#[derive(Clone, Copy, Debug, Default)]
struct Texts {
    distinct: f64,
    repeated: f64,
    self_bleu: f64,
    nats: f64,
}

/// Pieces of so many characters that differ, of all pieces of all texts.
fn distinct(texts: &[String], piece: usize) -> f64 {
    let (mut kinds, mut count) = (HashSet::new(), 0usize);
    for text in texts {
        let characters: Vec<char> = text.chars().collect();
        for window in characters.windows(piece) {
            kinds.insert(window.to_vec());
            count += 1;
        }
    }
    kinds.len() as f64 / count.max(1) as f64
}

/// The share of characters at which a span ends that stood in the same text before.
fn repeated(text: &str, span: usize) -> f64 {
    let characters: Vec<char> = text.chars().collect();
    let (mut seen, mut again, mut count) = (HashSet::new(), 0usize, 0usize);
    for window in characters.windows(span) {
        count += 1;
        again += usize::from(!seen.insert(window));
    }
    again as f64 / count.max(1) as f64
}

/// The mean BLEU of each text with all others as its references.
fn self_bleu(texts: &[String]) -> f64 {
    let score = |(at, text): (usize, &String)| {
        let others = texts.iter().enumerate().filter(|(other, _)| *other != at);
        let others: Vec<String> = others.map(|(_, text)| text.clone()).collect();
        bleu(&[text], &[others]).score
    };
    texts.iter().enumerate().map(score).sum::<f64>() / texts.len().max(1) as f64
}

fn write(
    conditions: &Conditions<'_>,
    task: &mut LanguageModelTask,
    way: &Way,
) -> Result<(Texts, String)> {
    let (count, length) = conditions.choose((4, 400), (12, 1500));
    let vocabulary = task.data().vocabulary.clone();
    let prompt = vocabulary.try_encode("\n").unwrap_or_else(|_| vec![0]);
    let mut sampler = if conditions.without_cause {
        Sampler::new().greedy(true)
    } else {
        (way.sampler)()
    };
    let mut generator = Generator::new(task.model_mut(), &vocabulary, conditions.compute.isa());
    let (mut texts, mut nats) = (Vec::new(), 0.0);
    for number in 0..count {
        let mut rng = keyed_rng(conditions.seed, Purpose::Sample, number);
        generator.start(&prompt);
        let mut ids = Vec::with_capacity(length);
        for _ in 0..length {
            let draw = generator.next(&mut sampler, &mut rng)?;
            nats -= draw.log_probability;
            ids.push(draw.id);
        }
        texts.push(vocabulary.decode(&ids));
    }
    let spans = texts.iter().map(|text| repeated(text, SPAN));
    let found = Texts {
        distinct: distinct(&texts, PIECE),
        repeated: spans.sum::<f64>() / texts.len() as f64,
        self_bleu: self_bleu(&texts),
        nats: nats / (count as usize * length) as f64,
    };
    let first = texts.first().map_or("", String::as_str);
    Ok((found, first.chars().take(60).collect()))
}

fn work(conditions: &Conditions<'_>) -> Result<Outcome> {
    let data = latin()?;
    let config = ModelConfig {
        dropout: 0.1,
        ..small(CellKind::Lstm, conditions.choose(80, 192))
    };
    let cut = Cut {
        batch: 16,
        bptt: Some(50),
    };
    conditions.say("training on Latin");
    let mut task = task(&config, &data, cut, conditions.seed)?;
    let steps = conditions.choose(350, 2000);
    train(conditions, &mut task, &adam(steps, 0.005, conditions.seed))?;
    let mut found = Vec::new();
    let mut texts = Table::new("texts", ["way", "how it begins"]);
    for way in &WAYS {
        conditions.say(format!("writing, {}", way.name));
        let (measured, begins) = write(conditions, &mut task, way)?;
        let begins = crate::run::plot::visible(&begins).replace('\n', " ");
        texts.row([way.name.into(), begins.into()]);
        found.push((way, measured));
    }
    let mut outcome = Outcome::new(&EXPERIMENT);
    tabulate(&mut outcome, &found);
    outcome.table(texts);
    decide(&mut outcome, &found);
    draw(&mut outcome, &found);
    Ok(outcome)
}

fn tabulate(outcome: &mut Outcome, found: &[(&Way, Texts)]) {
    let mut table = Table::new(
        "by way of choosing",
        [
            "way",
            "distinct pieces",
            "share in repeated spans",
            "self-BLEU",
            "nats a character",
        ],
    );
    for (way, texts) in found {
        table.row([
            way.name.into(),
            texts.distinct.into(),
            texts.repeated.into(),
            texts.self_bleu.into(),
            texts.nats.into(),
        ]);
    }
    outcome.table(table);
}

fn decide(outcome: &mut Outcome, found: &[(&Way, Texts)]) {
    let of = |name: &str| {
        let mut found = found.iter();
        found
            .find(|(way, _)| way.name == name)
            .map_or(Texts::default(), |(_, texts)| *texts)
    };
    let (greedy, drawn) = (of("greedy"), of("temperature 1"));
    outcome.check(
        drawn.distinct >= greedy.distinct + MORE,
        format!(
            "of pieces of {PIECE} characters {:.0} % are distinct when drawn, {:.0} % when the likeliest is taken (at least {:.0} % more)",
            100.0 * drawn.distinct,
            100.0 * greedy.distinct,
            100.0 * MORE
        ),
    );
    outcome.check(
        greedy.repeated >= LOOPING && drawn.repeated <= FRESH,
        format!(
            "taking the likeliest runs in circles: {:.0} % of its text repeats a span of {SPAN} characters (at least {:.0} %), {:.0} % when drawn (at most {:.0} %)",
            100.0 * greedy.repeated,
            100.0 * LOOPING,
            100.0 * drawn.repeated,
            100.0 * FRESH
        ),
    );
    outcome.check(
        greedy.self_bleu >= ALIKE && drawn.self_bleu <= greedy.self_bleu - LESS_ALIKE,
        format!(
            "all texts of the likeliest are the same (self-BLEU {:.0}, at least {ALIKE}), drawn ones differ (self-BLEU {:.0}, at least {LESS_ALIKE} less)",
            greedy.self_bleu, drawn.self_bleu
        ),
    );
    outcome.check(
        drawn.nats >= greedy.nats + PRICE,
        format!(
            "the price: to the model itself a character of the likeliest costs {} nats, a drawn one {} (at least {PRICE} more)",
            shown(greedy.nats),
            shown(drawn.nats)
        ),
    );
    outcome.seen = format!(
        "A model of Latin wrote texts from the same beginning in ten ways. Taking the likeliest character gives the same text every time, which soon goes round in a circle. Drawn at temperature 1, \
         {:.0} % of the pieces are distinct. Temperatures between, top-k and top-p lie between the two.",
        100.0 * drawn.distinct
    );
    outcome.beyond = "Variety is not quality: at temperature 1.5 there is most of it, and hardly a word. What is likeliest at every step is not the likeliest text either; and a low temperature, top-k or \
        top-p gives up some variety for fewer slips."
        .into();
}

fn draw(outcome: &mut Outcome, found: &[(&Way, Texts)]) {
    let points = |of: &dyn Fn(&Texts) -> f64| -> Vec<(f64, f64)> {
        let warm = found.iter().filter(|(way, _)| way.temperature.is_finite());
        warm.map(|(way, texts)| (way.temperature, of(texts)))
            .collect()
    };
    let mut y = linear("share");
    y.from_zero = true;
    outcome.picture(
        chart(
            "Variety against temperature",
            "Distinct pieces rise with the temperature, repeated spans vanish.",
            (linear("temperature (0 takes the likeliest)"), y),
            vec![
                curve("distinct pieces of 4 characters", 0, Mark::Dots, points(&|texts| texts.distinct)),
                curve("characters in repeated spans", 1, Mark::Dots, points(&|texts| texts.repeated)),
                curve("self-BLEU / 100", 2, Mark::Dots, points(&|texts| texts.self_bleu / 100.0)),
            ],
        ),
        "The higher the temperature, the more of the text is new; at 0 the likeliest character is taken and the text repeats itself.",
    );
    // From left to right in the order of the names.
    let of = |begins: &str| -> Vec<(f64, f64)> {
        let ways = found.iter().filter(|(way, _)| way.name.starts_with(begins));
        let points = ways.map(|(_, texts)| (texts.nats, texts.distinct));
        points.collect()
    };
    let mut y = linear("distinct pieces of 4 characters, share");
    y.from_zero = true;
    outcome.picture(
        chart(
            "Variety against its price",
            "Each way of choosing is a point: the more variety, the unlikelier the text.",
            (linear("what a character costs by the model itself, nats"), y),
            vec![
                curve("temperature 0.25, 0.5, 0.75, 1, 1.5", 0, Mark::Dots, of("temperature")),
                curve("top-k 3, 10", 1, Mark::Dots, of("top-k")),
                curve("top-p 0.5, 0.9", 2, Mark::Dots, of("top-p")),
                curve("the likeliest", 3, Mark::Rings, of("greedy")),
            ],
        ),
        "Each way of choosing is a point, those of one kind joined from left to right. The mean of -log p of the characters chosen, by the model at temperature 1: what is more varied is unlikelier.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_on_texts_worked_by_hand() {
        // ab, ba, ab, ba: two kinds of four.
        assert_eq!(distinct(&["ababa".to_owned()], 2), 0.5);
        assert_eq!(distinct(&["abc".to_owned(), "abd".to_owned()], 2), 0.75);
        // abc, bca, cab, abc: the last stood before.
        assert_eq!(repeated("abcabc", 3), 0.25);
        assert_eq!(repeated("abcdef", 3), 0.0);
        let same = vec!["one two three four".to_owned(); 3];
        assert!((self_bleu(&same) - 100.0).abs() < 1e-9);
        let other = [
            "one two three four".to_owned(),
            "five six seven eight".to_owned(),
        ];
        assert!(self_bleu(&other) < 1.0);
        // The first: all of its words, pairs, threes and fours stand in the other two (`a b c d` in the second, `b c d e` in the
        // third): 100. Of the second 4 of 5 words, 3 of 4 pairs, 2 of 3 threes and 1 of 2 fours, a product of 1/5: its fourth
        // root is 66.874 %. Of the third as many. All are of one length.
        let three = ["a b c d e", "a b c d f", "b c d e g"].map(str::to_owned);
        let by_hand = (100.0 + 2.0 * 66.874_030_5) / 3.0;
        assert!((self_bleu(&three) - by_hand).abs() < 1e-6);
    }
}
