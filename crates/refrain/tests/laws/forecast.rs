//! Forecasters of series and sequences: a window or sequence of a batch = that one alone, padding is inert, threads and the
//! instruction set change no bit, a score does not depend on the cut.

use std::sync::Arc;

use proptest::prelude::*;
use rand::RngExt;
use refrain::data::forecast::{
    Anchor, ForecastEncoding, ForecastExamples, ForecastOptions, ForecastParts, HeldForecast,
    RawForecast, fit,
};
use refrain::data::series::Series;
use refrain::data::{Arrays, Targets, Values};
use refrain::models::{
    Forecaster, ForecasterSpace, ModelConfig, Output, SequenceBatch, falling_order, rows_of,
};
use refrain::nn::{CellKind, ForecastLoss, Parameters};
use refrain::train::{ForecastData, ForecastTask, Task, score_forecast};
use refrain_kernels::{Compute, Isa, Panels};

use crate::{bits, instruction_sets, parameter_bits, plain, rng};

const FEATURES: usize = 3;

/// What is forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Series,
    Windows,
    NextStep,
    GivenSteps,
    GivenSequences,
}

const KINDS: [Kind; 5] = [
    Kind::Series,
    Kind::Windows,
    Kind::NextStep,
    Kind::GivenSteps,
    Kind::GivenSequences,
];

#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    loss: ForecastLoss,
    anchor: Anchor,
    shortcut: bool,
    context: usize,
    horizon: usize,
    lengths: Vec<usize>,
    config: ModelConfig,
    isa: Isa,
    threads: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let kinds = (0..KINDS.len(), 0usize..4, 0usize..4);
    let extras = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let sizes = (1usize..36, 1usize..3, 1usize..5);
    let windows = (1usize..6, 1usize..4);
    let lengths = prop::collection::vec(1usize..9, 2..9);
    let machine = (any::<bool>(), 1usize..3, any::<u64>());
    (kinds, extras, sizes, windows, lengths, machine).prop_map(
        |((kind, loss, cell), extras, sizes, (context, horizon), mut lengths, machine)| {
            let (anchored, shortcut, bidirectional, layer_norm) = extras;
            let (hidden_size, num_layers, window) = sizes;
            let (detect, threads, seed) = machine;
            let (kind, loss) = (KINDS[kind], ForecastLoss::ALL[loss]);
            let cell = [CellKind::Lstm, CellKind::Gru, CellKind::Rnn, CellKind::Mlp][cell];
            let is_recurrent = cell != CellKind::Mlp;
            let windows = matches!(kind, Kind::Series | Kind::Windows);
            if windows {
                // Room for a few windows.
                for length in &mut lengths {
                    *length += context + horizon;
                }
            }
            Case {
                kind,
                loss,
                anchor: if anchored && windows && loss != ForecastLoss::Bernoulli {
                    Anchor::Last
                } else {
                    Anchor::None
                },
                shortcut: shortcut && windows,
                context,
                horizon,
                lengths,
                config: ModelConfig {
                    bidirectional: bidirectional && is_recurrent && kind != Kind::NextStep,
                    layer_norm: layer_norm && is_recurrent,
                    window,
                    // Of no effect in evaluation.
                    dropout: 0.3,
                    recurrent_dropout: if is_recurrent { 0.2 } else { 0.0 },
                    ..plain(cell, hidden_size, num_layers)
                },
                isa: if detect { Isa::detect() } else { Isa::SCALAR },
                threads,
                seed,
            }
        },
    )
}

/// Data of a case, with `padding` in all that lies beyond its sequences.
fn raw(case: &Case, padding: f32) -> RawForecast {
    let rng = &mut rng(case.seed);
    let binary = case.loss == ForecastLoss::Bernoulli;
    let mut number = || match binary {
        true => f32::from(u8::from(rng.random::<bool>())),
        false => rng.random_range(-3.0f32..5.0),
    };
    if case.kind == Kind::Series {
        let rows: usize = case.lengths.iter().sum();
        return RawForecast::Table(Series {
            name: "series".into(),
            columns: ["a", "b", "c"].map(str::to_owned).to_vec(),
            places: vec![1, 2, 3],
            values: (0..rows * FEATURES).map(|_| number().into()).collect(),
            time: None,
            skipped: 0,
            sha256: String::new(),
            notes: Vec::new(),
        });
    }
    let steps = case.lengths.iter().copied().max().unwrap() + 1;
    let count = case.lengths.len();
    let mut values = Vec::new();
    for &length in &case.lengths {
        values.extend((0..length * FEATURES).map(|_| number()));
        values.extend(std::iter::repeat_n(padding, (steps - length) * FEATURES));
    }
    let shape = match case.kind {
        Kind::GivenSteps => Some(vec![count, steps, 2]),
        Kind::GivenSequences => Some(vec![count, 2]),
        _ => None,
    };
    let targets = shape.map(|shape| Targets {
        values: (0..shape.iter().product()).map(|_| number()).collect(),
        shape,
    });
    RawForecast::Arrays {
        arrays: Arc::new(Arrays {
            shape: vec![steps, FEATURES],
            count,
            values: Values::F32(values),
            lengths: Some(case.lengths.clone()),
            labels: None,
            targets,
            label_names: Vec::new(),
            sha256: String::new(),
            notes: Vec::new(),
        }),
        chosen: (0..count).collect(),
        name: "arrays".into(),
    }
}

fn data(case: &Case, padding: f32) -> (ForecastEncoding, ForecastExamples) {
    let train = raw(case, padding);
    let train_rows = match &train {
        RawForecast::Table(series) => series.rows(),
        RawForecast::Arrays { .. } => 0,
    };
    let windows = matches!(case.kind, Kind::Series | Kind::Windows);
    let parts = ForecastParts {
        validation: Some(HeldForecast::Own(train.clone())),
        train,
        train_rows,
        test: None,
        sha256: String::new(),
        notes: Vec::new(),
    };
    let options = ForecastOptions {
        context: windows.then_some(case.context),
        horizon: windows.then_some(case.horizon),
        target_column: None,
        loss: Some(case.loss),
        anchor: windows.then_some(case.anchor),
        shortcut: windows.then_some(case.shortcut),
        bidirectional: case.config.bidirectional,
    };
    let fitted = fit(&parts, &options).unwrap();
    assert_eq!(fitted.validation.unwrap().len(), fitted.train.len());
    (fitted.encoding, fitted.train)
}

fn model(case: &Case, encoding: &ForecastEncoding) -> Forecaster<f32> {
    let rng = &mut rng(case.seed ^ 2);
    let mut model = Forecaster::new(&case.config, &encoding.shape(), rng);
    model.visit_mut(&mut |parameter| {
        for value in &mut parameter.value {
            *value += rng.random_range(-0.2f32..0.2);
        }
    });
    model
}

/// The answers to each example in the batches that are given, as bits.
fn answers(
    case: &Case,
    model: &Forecaster<f32>,
    examples: &ForecastExamples,
    batches: &[Vec<usize>],
) -> Vec<Vec<u32>> {
    let compute = Compute::new(case.isa, case.threads);
    let (mut space, mut batch) = (ForecasterSpace::default(), SequenceBatch::default());
    let mut all = vec![Vec::new(); examples.len()];
    model.pack(&mut space, false);
    for chosen in batches {
        examples.fill(chosen, &mut batch);
        model.answer(&compute, &mut space, &batch, None);
        let places: Vec<usize> = match model.shape().output {
            Output::Sequence => (0..chosen.len()).collect(),
            _ => rows_of(&batch.steps).map(|(place, _)| place).collect(),
        };
        for (row, place) in places.into_iter().enumerate() {
            all[chosen[place]].extend(bits(&space.outputs().to_rows(row, 1)));
        }
    }
    all
}

/// All that gradient steps leave, as bits.
fn train(case: &Case, compute: &Compute) -> Vec<Vec<u32>> {
    let (encoding, train) = data(case, 0.0);
    let model = model(case, &encoding);
    let data = ForecastData {
        validation: Some(train.clone()),
        encoding,
        train,
        test: None,
    };
    let mut task = ForecastTask::new(model, data, 3, case.seed);
    let mut left = Vec::new();
    let nats = |loss: f64| vec![(loss.to_bits() >> 32) as u32, loss.to_bits() as u32];
    for step in 0..3 {
        left.push(nats(task.step(compute, step).loss_nats));
        let mut gradients = Vec::new();
        task.parameters_mut().visit_mut(&mut |parameter| {
            gradients.extend(bits(&parameter.grad));
            for (value, grad) in parameter.value.iter_mut().zip(&parameter.grad) {
                *value -= 0.05 * grad;
            }
        });
        left.push(gradients);
    }
    left.push(parameter_bits(task.model()));
    let score = task.validate(compute).unwrap();
    left.push(nats(score.loss_nats));
    left.extend(score.metrics.values().map(|&value| nats(value)));
    left
}

fn check_machines(case: &Case) {
    let mut first: Option<Vec<Vec<u32>>> = None;
    for isa in instruction_sets() {
        for threads in 1..=3 {
            let found = train(case, &Compute::new(isa, threads));
            let first = first.get_or_insert_with(|| found.clone());
            assert!(
                found == *first,
                "{threads} threads, {}: {case:?}",
                isa.name()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_forecast_of_a_batch_is_that_alone_and_padding_is_inert(case in cases()) {
        let (encoding, examples) = data(&case, 0.0);
        let model = model(&case, &encoding);
        let all = falling_order(examples.lengths());
        let expected = answers(&case, &model, &examples, std::slice::from_ref(&all));
        let alone: Vec<Vec<usize>> = (0..examples.len()).map(|at| vec![at]).collect();
        prop_assert_eq!(&answers(&case, &model, &examples, &alone), &expected);
        if case.kind != Kind::Series {
            for padding in [1e30, f32::NAN] {
                let (same, padded) = data(&case, padding);
                prop_assert_eq!(&answers(&case, &model, &padded, std::slice::from_ref(&all)), &expected);
                prop_assert_eq!(&same, &encoding);
            }
        }
    }

    #[test]
    fn a_score_of_forecasts_is_the_mean_of_each_alone(case in cases()) {
        let (encoding, examples) = data(&case, 0.0);
        let model = model(&case, &encoding);
        let compute = Compute::new(case.isa, case.threads);
        let mut space = ForecasterSpace::default();
        let together = score_forecast(&compute, &model, &mut space, &encoding, &examples);
        let (mut batch, mut targets) = (SequenceBatch::default(), Panels::default());
        let (mut sum, mut rows) = (0.0, 0);
        for at in 0..examples.len() {
            examples.fill(&[at], &mut batch);
            examples.fill_targets(&[at], &batch.steps, &mut targets);
            sum += model.loss(&compute, &mut space, &batch, &targets);
            rows += targets.rows();
        }
        prop_assert_eq!(together.loss.to_bits(), (sum / rows as f64).to_bits());
        if case.loss == ForecastLoss::Mse {
            let mse = together.errors.means().mse;
            prop_assert!((mse - together.loss).abs() <= 1e-9 * mse.max(1.0), "{} {}", mse, together.loss);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn threads_and_instruction_sets_change_no_bit_of_a_forecaster(case in cases()) {
        check_machines(&case);
    }
}

/// Large enough that every kernel gives work to each of three threads.
#[test]
fn nor_of_a_large_forecaster() {
    for (kind, cell, loss) in [
        (Kind::Series, CellKind::Lstm, ForecastLoss::Gaussian),
        (Kind::NextStep, CellKind::Gru, ForecastLoss::Bernoulli),
        (Kind::Series, CellKind::Mlp, ForecastLoss::Mae),
    ] {
        let is_recurrent = cell != CellKind::Mlp;
        check_machines(&Case {
            kind,
            loss,
            anchor: Anchor::Last,
            shortcut: kind == Kind::Series,
            context: 20,
            horizon: 9,
            lengths: (1..13).map(|at| 3 * at).collect(),
            config: ModelConfig {
                layer_norm: is_recurrent,
                dropout: 0.3,
                ..plain(cell, 96, 2)
            },
            isa: Isa::detect(),
            threads: 1,
            seed: 3,
        });
    }
}

/// What lies after the training part changes nothing of what is learnt of the data.
#[test]
fn nothing_is_learnt_of_the_parts_held_back() {
    let fitted = |later: f64| {
        let value = |at: usize| libm::sin(at as f64 * 0.7) + if at >= 160 { later } else { 0.0 };
        let series = Series {
            name: "series".into(),
            columns: vec!["a".into()],
            places: vec![1],
            values: (0..200).map(value).collect(),
            time: None,
            skipped: 0,
            sha256: String::new(),
            notes: Vec::new(),
        };
        let parts = ForecastParts {
            train: RawForecast::Table(series),
            train_rows: 160,
            validation: Some(HeldForecast::Rows(160..180)),
            test: Some(HeldForecast::Rows(180..200)),
            sha256: String::new(),
            notes: Vec::new(),
        };
        let options = ForecastOptions {
            context: Some(10),
            horizon: Some(5),
            ..ForecastOptions::default()
        };
        fit(&parts, &options).unwrap()
    };
    let (plain, changed) = (fitted(0.0), fitted(50.0));
    assert_eq!(plain.encoding, changed.encoding);
    // Training windows end with the part; later ones look back into it, never ahead.
    assert_eq!((plain.train.items()[0], plain.train.len()), (10, 146));
    assert_eq!(plain.train.items().last(), Some(&155));
    let validation = plain.validation.unwrap();
    assert_eq!(
        (validation.items()[0], validation.items().last()),
        (160, Some(&175))
    );
    assert_eq!(plain.test.unwrap().items()[0], 180);
}
