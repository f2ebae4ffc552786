//! What is wrong with a file, beside its lines.

use std::ops::Range;

use ariadne::{Config, IndexType, Label, Report, ReportKind, Source};
use paravane_firewall::{Diagnostic, Severity};

/// All of `problems` with the file's name, line, column and a caret below what is meant.
#[must_use]
pub fn render(problems: &[Diagnostic], name: &str, text: &str, colour: bool) -> String {
    let mut out = Vec::new();
    let mut source = (name, Source::from(text));
    let config = Config::new().with_color(colour).with_index_type(IndexType::Byte);
    for problem in problems {
        let kind = match problem.severity {
            Severity::Error => ReportKind::Error,
            Severity::Warning => ReportKind::Warning,
        };
        let mut labels = vec![(&problem.span, &problem.help)];
        labels.extend(problem.related.as_ref().map(|related| (&related.span, &related.message)));
        // In one piece, if they stand as the file does.
        labels.sort_by_key(|(span, _)| span.start);
        let label =
            |(span, text): (&Range<usize>, &String)| Label::new((name, span.clone())).with_message(text);
        let report = Report::build(kind, (name, problem.span.clone()))
            .with_config(config)
            .with_message(&problem.message)
            .with_labels(labels.into_iter().map(label));
        // Memory takes all that is written.
        _ = report.finish().write(&mut source, &mut out);
    }
    String::from_utf8_lossy(&out).into_owned()
}
