//! Training: the loop, its settings, its events.

mod bptt;
mod buckets;
mod buffers;
mod config;
pub mod events;
mod forecast;
mod labels;
mod language_model;
mod pairs;
mod random;
mod task;
mod traces;
mod trainer;
mod watch;

pub use bptt::{ChunkPlan, Shrunk};
pub use buckets::BucketPlan;
pub use config::{Budget, TrainConfig};
pub use forecast::{
    Answers, FORECAST_SCORED_ROWS, ForecastData, ForecastPart, ForecastScore, ForecastTask,
    number_gates, read_answer, report_forecast, score_forecast,
};
pub use labels::{
    LabelData, LabelPlan, LabelScore, LabelTask, balanced_weights, best_class, label_gates,
    score_labels, scored_rows, scoring_batches,
};
pub use language_model::{LanguageModelData, LanguageModelTask};
pub use pairs::{
    PairData, PairPlan, PairScore, PairTask, Wording, pair_gates, pair_loss, score_pairs, write_all,
};
pub use random::{Purpose, keyed_rng};
pub use task::{Carried, Score, StepLoss, Task};
pub use traces::{
    SingleLoss, label_losses, label_traces, number_losses, number_traces, pair_losses, pair_traces,
};
pub use trainer::{Outcome, Progress, Recorder, Surroundings, Trainer};
