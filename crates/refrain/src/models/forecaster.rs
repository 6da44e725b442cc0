use rand::Rng;
use refrain_kernels::{Compute, DropoutKey, Panels, Scalar, dropout};

use super::ModelConfig;
use super::batch::{BatchInputs, SequenceBatch};
use super::encoder::{Encoder, EncoderSpace, InputShape, Output};
use crate::nn::{
    ForecastLoss, ForecastLosses, Linear, PackedLinear, Parameter, Parameters, Pooling,
    PoolingSpace, Steps, pool_backward, pool_forward,
};

/// The mask before the linear layer: a number that no layer has.
const OUTPUT_MASK: u64 = (1 << 40) + 1;

/// What a forecaster reads and what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForecasterShape {
    /// What sequences are made of: vectors.
    pub input: InputShape,
    /// Whether it answers at every step, or once for a sequence.
    pub output: Output,
    /// Steps that an answer is of.
    pub horizon: usize,
    /// Numbers of such a step.
    pub targets: usize,
    /// What is minimised; it says what an answer means.
    pub loss: ForecastLoss,
    /// The features that are the targets' own past, in the order of the targets, where the shortcut reads them; none without it.
    pub shortcut: Vec<usize>,
}

impl ForecasterShape {
    /// Numbers of an answer.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.loss.outputs(self.horizon * self.targets)
    }

    /// Steps that the shortcut reads.
    fn shortcut_steps(&self) -> Option<usize> {
        match self.input {
            InputShape::Vectors {
                seq_len: Some(seq_len),
                ..
            } if !self.shortcut.is_empty() => Some(seq_len),
            _ => None,
        }
    }

    /// The number of trainable numbers of a model, in floating point so that no size overflows.
    #[must_use]
    pub fn parameter_estimate(&self, config: &ModelConfig) -> f64 {
        let shortcut = self
            .shortcut_steps()
            .map_or(0.0, |steps| (steps as f64 + 1.0) * self.horizon as f64);
        let outputs = self.loss.outputs(1) as f64 * self.horizon as f64 * self.targets as f64;
        let (linear, one) = (
            config.labeller_estimate(&self.input, self.output, 2),
            config.labeller_estimate(&self.input, self.output, 1),
        );
        one + (outputs - 1.0) * (linear - one) + shortcut
    }

    /// An estimate of the bytes that training a model takes, with batches of `rows` rows over time.
    #[must_use]
    pub fn memory_estimate(&self, config: &ModelConfig, rows: usize) -> f64 {
        let layers = config.labeller_memory(&self.input, self.output, 1, rows);
        let answers = match self.output {
            Output::Steps | Output::Past => rows,
            Output::Sequence | Output::Features => {
                self.shortcut_steps().map_or(rows, |steps| rows / steps)
            }
        };
        let outputs = self.loss.outputs(1) as f64 * self.horizon as f64 * self.targets as f64;
        // Outputs, targets, what the shortcut reads and says; each padded.
        let numbers =
            4.0 * (outputs + 16.0) * answers as f64 + 3.0 * (rows * self.shortcut.len()) as f64;
        layers + 4.0 * (9.0 * self.parameter_estimate(config) + numbers)
    }
}

/// An encoder, then a linear layer to numbers: once for a sequence (many to one) from its last states, or at every step (many to
/// many).
///
/// ```text
/// h_t = encoder(x)_t
/// many to one:   y = W h_T + b          the next `horizon` steps at once
/// many to many:  y_t = W h_t + b
/// with a shortcut, of a sequence:   y[s, k] += V[s, :] x[1..T, k] + c[s]
/// ```
///
/// The shortcut is a linear model of each target's own past, its weights shared by all targets (the autoregressive part of
/// LSTNet). Of a [`ForecastLoss::Gaussian`] it adds to the means.
///
/// # Shapes
/// The encoder's parameters; `linear.weight`: `(outputs, output_size)`, `linear.bias`: `(outputs)`, an output for each step of the
/// horizon and in it each target, then the log-variances alike; `shortcut.weight`: `(horizon, steps)`, `shortcut.bias`:
/// `(horizon)`.
///
/// # References
/// G. Lai, W.-C. Chang, Y. Yang, H. Liu, "Modeling long- and short-term temporal patterns with deep neural networks", 2018.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecaster<T> {
    /// The architecture.
    pub config: ModelConfig,
    /// From sequences to hidden states.
    pub encoder: Encoder<T>,
    /// From hidden states to numbers.
    pub linear: Linear<T>,
    /// From the targets' own past to numbers.
    pub shortcut: Option<Linear<T>>,
    shape: ForecasterShape,
}

/// What passes over a [`Forecaster`] reuse.
#[derive(Clone, Debug, Default)]
pub struct ForecasterSpace<T> {
    /// The encoder's part.
    pub encoder: EncoderSpace<T>,
    linear: PackedLinear<T>,
    shortcut: PackedLinear<T>,
    pooling: PoolingSpace,
    /// What the linear layer reads: pooled, dropped.
    top: Panels<T>,
    d_top: Panels<T>,
    d_output: Panels<T>,
    top_steps: Steps,
    /// The targets' own past, a row for each target of each sequence, and what the shortcut makes of it.
    past: Panels<T>,
    d_past: Panels<T>,
    ahead: Panels<T>,
    past_steps: Steps,
    outputs: Panels<T>,
    losses: ForecastLosses,
}

impl<T: Scalar> ForecasterSpace<T> {
    /// What the last pass left of the answers: themselves after [`Forecaster::answer`] and [`Forecaster::loss`].
    #[must_use]
    pub fn outputs(&self) -> &Panels<T> {
        &self.outputs
    }

    /// The loss of each answer of the last pass.
    #[must_use]
    pub fn losses(&self) -> &[f64] {
        self.losses.losses()
    }
}

impl<T: Scalar> Forecaster<T> {
    /// A model of zeros.
    #[must_use]
    pub fn zeros(config: &ModelConfig, shape: &ForecasterShape) -> Self {
        let encoder = Encoder::zeros(config, &shape.input, shape.output, "");
        Self {
            config: config.clone(),
            linear: Linear::zeros("linear", encoder.output_size(), shape.outputs()),
            shortcut: shape
                .shortcut_steps()
                .map(|steps| Linear::zeros("shortcut", steps, shape.horizon)),
            encoder,
            shape: shape.clone(),
        }
    }

    /// A model with weights drawn from `rng`.
    #[must_use]
    pub fn new(config: &ModelConfig, shape: &ForecasterShape, rng: &mut impl Rng) -> Self {
        let mut model = Self::zeros(config, shape);
        model.encoder.initialise(rng);
        model.linear.initialise(rng);
        if let Some(shortcut) = &mut model.shortcut {
            shortcut.initialise(rng);
        }
        model
    }

    /// What it reads and is asked for.
    #[must_use]
    pub fn shape(&self) -> &ForecasterShape {
        &self.shape
    }

    fn pools(&self) -> bool {
        self.shape.output == Output::Sequence && !self.encoder.gives_sequences()
    }

    /// Lays the weights out for the kernels; `with_backward` also for the backward pass.
    pub fn pack(&self, space: &mut ForecasterSpace<T>, with_backward: bool) {
        self.encoder.pack(&mut space.encoder, with_backward);
        self.linear.pack(&mut space.linear, with_backward);
        if let Some(shortcut) = &self.shortcut {
            shortcut.pack(&mut space.shortcut, with_backward);
        }
    }

    /// The answers to a batch, in [`ForecasterSpace::outputs`]: a row for each step, or for each sequence.
    ///
    /// # Panics
    /// If the batch is not what the model was made for, or the weights were not packed.
    pub fn answer(
        &self,
        compute: &Compute,
        space: &mut ForecasterSpace<T>,
        batch: &SequenceBatch<T>,
        mask: Option<DropoutKey>,
    ) {
        self.encoder
            .forward(compute, &mut space.encoder, batch, mask);
        let output = self.encoder.output(&space.encoder);
        if self.pools() {
            pool_forward(
                Pooling::Last,
                &batch.steps,
                self.encoder.reverse_from(),
                output,
                &mut space.top,
                &mut space.pooling,
            );
        } else {
            space.top.clone_from(output);
        }
        match self.shape.output {
            Output::Steps | Output::Past => space.top_steps.clone_from(&batch.steps),
            Output::Sequence | Output::Features => {
                space.top_steps.set_uniform(1, batch.steps.batch())
            }
        }
        self.mask_top(compute, &space.top_steps, &mut space.top, mask);
        self.linear
            .forward(compute, &space.linear, &space.top, &mut space.outputs);
        self.add_shortcut(compute, space, batch);
    }

    fn mask_top(
        &self,
        compute: &Compute,
        steps: &Steps,
        top: &mut Panels<T>,
        mask: Option<DropoutKey>,
    ) {
        if let Some(key) = mask.filter(|_| self.config.dropout > 0.0) {
            let key = DropoutKey {
                layer: OUTPUT_MASK,
                ..key
            };
            dropout(compute, key, self.config.dropout, steps.offsets(), top);
        }
    }

    fn add_shortcut(
        &self,
        compute: &Compute,
        space: &mut ForecasterSpace<T>,
        batch: &SequenceBatch<T>,
    ) {
        let (Some(shortcut), BatchInputs::Vectors(x)) = (&self.shortcut, &batch.inputs) else {
            return;
        };
        let (columns, steps) = (&self.shape.shortcut, &batch.steps);
        let (count, seq_len) = (steps.batch(), shortcut.input_size());
        assert_eq!(steps.len(), seq_len, "steps of a sequence");
        assert_eq!(steps.rows(), seq_len * count, "steps of every sequence");
        space.past.resize(count * columns.len(), seq_len);
        for t in 0..seq_len {
            for place in 0..count {
                for (k, &column) in columns.iter().enumerate() {
                    let value = x.get(steps.offsets()[t] + place, column);
                    space.past.set(place * columns.len() + k, t, value);
                }
            }
        }
        space.past_steps.set_uniform(1, count * columns.len());
        shortcut.forward(compute, &space.shortcut, &space.past, &mut space.ahead);
        for place in 0..count {
            for (k, step) in
                (0..columns.len()).flat_map(|k| (0..self.shape.horizon).map(move |s| (k, s)))
            {
                let at = step * columns.len() + k;
                let sum =
                    space.outputs.get(place, at) + space.ahead.get(place * columns.len() + k, step);
                space.outputs.set(place, at, sum);
            }
        }
    }

    /// The gradient of the shortcut from that of the outputs.
    fn shortcut_backward(&mut self, compute: &Compute, space: &mut ForecasterSpace<T>) {
        let Some(shortcut) = &mut self.shortcut else {
            return;
        };
        let (targets, horizon) = (self.shape.shortcut.len(), self.shape.horizon);
        for row in 0..space.past.rows() {
            for step in 0..horizon {
                let d_output = space
                    .outputs
                    .get(row / targets, step * targets + row % targets);
                space.ahead.set(row, step, d_output);
            }
        }
        shortcut.backward(
            compute,
            &mut space.shortcut,
            &space.past_steps,
            &space.past,
            &space.ahead,
            &mut space.d_past,
        );
    }

    /// One forward and backward pass: the mean of the losses, its gradients in the parameters.
    ///
    /// # Shapes
    /// `targets`: a row for each answer × (horizon · targets).
    ///
    /// # Panics
    /// If the batch is not what the model was made for, or there are not as many targets as answers.
    pub fn loss_and_gradients(
        &mut self,
        compute: &Compute,
        space: &mut ForecasterSpace<T>,
        batch: &SequenceBatch<T>,
        targets: &Panels<T>,
        mask: Option<DropoutKey>,
    ) -> f64 {
        self.pack(space, true);
        self.answer(compute, space, batch, mask);
        let (loss, horizon) = (self.shape.loss, self.shape.horizon);
        let loss = space
            .losses
            .forward_backward(loss, &mut space.outputs, targets, horizon);
        self.backward(compute, space, batch, mask);
        loss
    }

    /// The same of one answer alone, that of row `row`, without dropout.
    ///
    /// # Panics
    /// As [`Forecaster::loss_and_gradients`], or if there is no such row.
    pub fn answer_loss_and_gradients(
        &mut self,
        compute: &Compute,
        space: &mut ForecasterSpace<T>,
        batch: &SequenceBatch<T>,
        targets: &Panels<T>,
        row: usize,
    ) -> f64 {
        self.pack(space, true);
        self.answer(compute, space, batch, None);
        let (loss, horizon) = (self.shape.loss, self.shape.horizon);
        space
            .losses
            .forward_backward(loss, &mut space.outputs, targets, horizon);
        let rows = space.outputs.rows();
        let all = T::from_f64(rows as f64);
        for (at, block) in space.outputs.blocks_mut().iter_mut().enumerate() {
            let kept = if at % rows == row { all } else { T::ZERO };
            block.0 = block.0.map(|value| value * kept);
        }
        self.backward(compute, space, batch, None);
        space.losses()[row]
    }

    /// Backward from the gradients of the answers, which stand in their place.
    fn backward(
        &mut self,
        compute: &Compute,
        space: &mut ForecasterSpace<T>,
        batch: &SequenceBatch<T>,
        mask: Option<DropoutKey>,
    ) {
        self.shortcut_backward(compute, space);
        self.linear.backward(
            compute,
            &mut space.linear,
            &space.top_steps,
            &space.top,
            &space.outputs,
            &mut space.d_top,
        );
        self.mask_top(compute, &space.top_steps, &mut space.d_top, mask);
        let d_output = if self.pools() {
            pool_backward(
                Pooling::Last,
                &batch.steps,
                self.encoder.reverse_from(),
                &space.d_top,
                &mut space.d_output,
                &space.pooling,
            );
            &space.d_output
        } else {
            &space.d_top
        };
        self.encoder
            .backward(compute, &mut space.encoder, batch, d_output, mask);
    }

    /// The sum of the losses of the answers, without gradients or dropout. The weights must have been packed since they last
    /// changed.
    ///
    /// # Panics
    /// As [`Forecaster::loss_and_gradients`].
    pub fn loss(
        &self,
        compute: &Compute,
        space: &mut ForecasterSpace<T>,
        batch: &SequenceBatch<T>,
        targets: &Panels<T>,
    ) -> f64 {
        self.answer(compute, space, batch, None);
        let (loss, horizon) = (self.shape.loss, self.shape.horizon);
        space.losses.forward(loss, &space.outputs, targets, horizon)
    }
}

impl<T: Scalar> Parameters<T> for Forecaster<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.encoder.visit(visit);
        self.linear.visit(visit);
        if let Some(shortcut) = &self.shortcut {
            shortcut.visit(visit);
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.encoder.visit_mut(visit);
        self.linear.visit_mut(visit);
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.visit_mut(visit);
        }
    }

    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Parameter<T>)) {
        self.encoder.visit_buffers(visit);
    }

    fn visit_buffers_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Parameter<T>)) {
        self.encoder.visit_buffers_mut(visit);
    }
}
