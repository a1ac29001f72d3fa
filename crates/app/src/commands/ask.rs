//! `truename ask`: what the cluster's DNS would have answered a pod, and from which objects and lines.

use truename_engine::Inquiry;
use truename_report::{Style, foretelling};

use crate::cli::{AskArgs, Told};
use crate::commands::case::failed;
use crate::commands::evidence;
use crate::commands::may::window;
use crate::exit::{Exit, Failure};
use crate::terminal;

pub(crate) fn run(args: &AskArgs, style: Style) -> Result<Exit, Failure> {
    let [paths @ .., name, rtype] = args.words.as_slice() else {
        return Err(Failure::usage("ask CASE NAME TYPE --as POD"));
    };
    let at = args.at.as_deref().map(window).transpose()?;
    let evidence = evidence::open(paths)?;
    let settings = evidence.opened.settings()?;
    let (cluster, version) = (args.cluster.as_deref(), args.coredns.as_deref());
    let asked = Inquiry { name, rtype, pod: &args.pod, at, cluster, version };
    let told =
        truename_engine::ask(evidence.opened.reader(), &settings, &asked).map_err(|error| failed(&error))?;
    terminal::print(&match args.output {
        Told::Table => foretelling::table(&told, style),
        Told::Json => foretelling::json(&told),
    })?;
    Ok(evidence.exit)
}
