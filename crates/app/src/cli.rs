//! The command line as it is typed. Meaning is given to it in `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "Exit codes: 0 clean, 1 findings of at least --fail-on, 2 usage, 3 not all could be read or covered \
                          (--fail-coverage-below), 4 evidence not intact, 6 internal or I/O error. If several apply: \
                          6, then 4, then 3, then 1.";

/// DNS forensics for Kubernetes: who asked, was it allowed, was the answer true, and the proof.
#[derive(Debug, Parser)]
#[command(name = "truename", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// When to colour: NO_COLOR is honoured by `auto`.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
    /// Exit with 1 if an incident or a finding (not suppressed) of at least this severity is there.
    #[arg(long, global = true, value_enum)]
    pub(crate) fail_on: Option<Grade>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

/// Severity on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grade {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Grade {
    pub(crate) fn severity(self) -> truename_model::Severity {
        use truename_model::Severity;
        match self {
            Self::Info => Severity::Info,
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
        }
    }
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
    Jsonl,
    Csv,
    Html,
    Timesketch,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Investigate the bundled recorded incident and show where to look.
    Demo(DemoArgs),
    /// Read files and folders into a case and conclude what happened.
    Investigate(InvestigateArgs),
    /// Every lookup, change and server line of a case in order of time.
    Timeline(ShowArgs),
    /// The findings of a case.
    Findings(ShowArgs),
    /// One finding with the records, proofs and objects that justify it.
    Explain(ExplainArgs),
    /// The whole report of a case.
    Report(ShowArgs),
    /// What the cluster's DNS would have answered a pod: the true answer, or the possible ones, with objects and lines.
    Ask(AskArgs),
    /// Whether the network policies in force let a pod reach something: allowed, denied, or unknown with the reason.
    May(MayArgs),
    /// Check a case's evidence offline.
    Verify(VerifyArgs),
    /// The custody of a case: every item with digests, times, operator, gaps.
    Custody(CustodyArgs),
    /// The detection rules.
    Rules(RulesArgs),
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Folder for the case; must not exist.
    #[arg(long)]
    pub(crate) case: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct InvestigateArgs {
    /// Files and folders, recognised by content; `-` reads standard input.
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Case folder; made if absent, added to if it exists. Default: a new ./truename-case-<UTC>.
    #[arg(long)]
    pub(crate) case: Option<PathBuf>,
    /// What is approved in this cluster (YAML). Default: as in the case's last conclusion.
    #[arg(long)]
    pub(crate) profile: Option<PathBuf>,
    /// Facts about the origin of items: GLOB:cluster=…,replica=…,node=…,version=…,tz=±HH:MM,year=YYYY,offset=±SECONDS,leg=client|upstream,address=IP.
    /// Default: as in the case's last conclusion.
    #[arg(long)]
    pub(crate) origin: Vec<String>,
    /// Signing key; made at first use. Default: the user's configuration folder.
    #[arg(long, env = "TRUENAME_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// A further port of DNS servers: packets to and from it are kept and read as DNS even if they are malformed.
    /// Well-formed DNS is recognised on every port. Default: as in the case's last conclusion.
    #[arg(long, value_name = "PORT")]
    pub(crate) dns_port: Vec<u16>,
    /// Keep packets that are not DNS, too.
    #[arg(long)]
    pub(crate) keep_all: bool,
    /// Copy the original files into the case.
    #[arg(long)]
    pub(crate) copy_originals: bool,
    /// Do not use the profile, the origins and the ports of the case's last conclusion again.
    #[arg(long)]
    pub(crate) afresh: bool,
    /// Name of the operator in the custody entries. Default: the user.
    #[arg(long, env = "TRUENAME_OPERATOR")]
    pub(crate) operator: Option<String>,
    /// Threads (1 or 2); the result is the same.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) threads: u8,
    /// Exit with 3 if less than this share (0–100) of the lookups is attributed exactly.
    #[arg(long, value_parser = share)]
    pub(crate) fail_coverage_below: Option<f64>,
}

/// A share in percent.
fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok().filter(|share| (0.0..=100.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 100".to_owned())
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Case folder.
    pub(crate) case: PathBuf,
    /// Format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// File to write instead of standard output; never overwritten without --clobber.
    #[arg(short = 'f', long)]
    pub(crate) file: Option<PathBuf>,
    /// Overwrite the file.
    #[arg(long)]
    pub(crate) clobber: bool,
    /// What was concluded when the log had so many entries (`custody log` lists the conclusions).
    #[arg(long)]
    pub(crate) at_size: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Case, format and file; `-o json` gives the complete proofs (docs/formats/receipt.md).
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    /// Finding id, or the first digits of one.
    pub(crate) id: String,
}

/// Output format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Told {
    Table,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct AskArgs {
    /// CASE NAME TYPE. In place of CASE files and folders with objects and the Corefile (`kubectl get -o json|yaml`), `-`
    /// reads standard input. NAME is taken as it stands on the wire, without a search list.
    #[arg(required = true, num_args = 3.., value_names = ["CASE|PATH", "NAME", "TYPE"])]
    pub(crate) words: Vec<String>,
    /// The pod that asks: NAMESPACE/POD.
    #[arg(long = "as", value_name = "POD")]
    pub(crate) pod: String,
    /// RFC 3339, or FROM/TO for a window. Default: the last state in the evidence.
    #[arg(long)]
    pub(crate) at: Option<String>,
    /// Cluster, where the evidence holds several that have such a pod.
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Version of CoreDNS. Default: those of the servers in the evidence.
    #[arg(long, value_name = "VERSION")]
    pub(crate) coredns: Option<String>,
    /// Format.
    #[arg(short, long, value_enum, default_value_t = Told::Table)]
    pub(crate) output: Told,
}

#[derive(Args, Debug)]
pub(crate) struct MayArgs {
    /// CASE POD TARGET. In place of CASE files and folders with objects (`kubectl get -o json|yaml`), `-` reads standard
    /// input. POD is NAMESPACE/POD; TARGET is NAMESPACE/SERVICE, SERVICE.NAMESPACE.svc, pod/NAMESPACE/POD or an address.
    #[arg(required = true, num_args = 3.., value_names = ["CASE|PATH", "POD", "TARGET"])]
    pub(crate) words: Vec<String>,
    /// Number or name of a port, with /TCP, /UDP or /SCTP behind it if wanted. Default: every port of the service.
    #[arg(long)]
    pub(crate) port: Option<String>,
    /// RFC 3339, or FROM/TO for a window. Default: the last state in the evidence.
    #[arg(long)]
    pub(crate) at: Option<String>,
    /// Cluster, where the evidence holds several that have such a pod.
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Format.
    #[arg(short, long, value_enum, default_value_t = Told::Table)]
    pub(crate) output: Told,
}

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Case folder.
    pub(crate) case: PathBuf,
    /// Verification key that must have signed it (as in the receipt).
    #[arg(long)]
    pub(crate) vkey: Option<String>,
    /// The receipt noted down at the end of an investigation.
    #[arg(long)]
    pub(crate) receipt: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct CustodyArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: CustodyAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CustodyAction {
    /// List every custody, gap and conclusion entry.
    Log {
        /// Case folder.
        case: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct RulesArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: RulesAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesAction {
    /// List the rules.
    List,
    /// Show one rule in full.
    Show {
        /// Rule id.
        id: String,
    },
}
