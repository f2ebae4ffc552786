//! What is wrong with a file, beside its lines.

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
        let mut report = Report::build(kind, (name, problem.span.clone()))
            .with_config(config)
            .with_message(&problem.message)
            .with_label(Label::new((name, problem.span.clone())).with_message(&problem.help));
        if let Some(related) = &problem.related {
            report =
                report.with_label(Label::new((name, related.span.clone())).with_message(&related.message));
        }
        // Memory takes all that is written.
        _ = report.finish().write(&mut source, &mut out);
    }
    String::from_utf8_lossy(&out).into_owned()
}
