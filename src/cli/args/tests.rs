//! Tests of the command line.

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Invocation, clap::Error> {
    Invocation::parse_from(line.split(' ').map(Into::into))
}

fn start(line: &str) -> StartArgs {
    match parse(line) {
        Ok(Invocation::Own(Cli { command: Command::Start(args) })) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

/// clap finds no contradiction in the definitions.
#[test]
fn definitions() {
    Cli::command().debug_assert();
    NamesrvArgs::command().debug_assert();
    BrokerArgs::command().debug_assert();
}

/// Every flag of `start` arrives in the settings.
#[test]
fn start_flags() {
    let settings = start(
        "rmq-lite start --bind 0.0.0.0 --namesrv-port 0 --broker-port 20911 --web-port 9 --advertise [::1]:77 \
         --set brokerName=b --set namesrvAddr=a:1;b:2 --data-dir /d --name n --ports-file p.json --json \
         --strict-topics --timings apache --log debug",
    )
    .settings()
    .unwrap();
    assert_eq!(settings.bind.to_string(), "0.0.0.0");
    assert_eq!((settings.namesrv_port, settings.broker_port, settings.web_port), (0, 20911, Some(9)));
    assert_eq!(settings.advertise, Some(Advertise { host: "::1".to_owned(), port: Some(77) }));
    assert_eq!(settings.broker.broker_name, "b");
    assert_eq!(settings.broker.namesrv_addrs(), ["a:1", "b:2"]);
    assert_eq!((settings.data_dir.to_str(), settings.name.as_str()), (Some("/d"), "n"));
    assert_eq!(settings.ports_file.as_deref(), Some("p.json".as_ref()));
    assert!(settings.json && settings.strict_topics && !settings.ephemeral);
    assert_eq!((settings.timings, settings.log.as_str()), (Timings::Apache, "debug"));
    let headless = start("rmq-lite start --headless --ephemeral").settings().unwrap();
    assert!(headless.web_port.is_none() && headless.ephemeral);
}

/// A slave has a port, an id and a directory of its own, and its master's other keys.
#[test]
fn slave_beside_the_master() {
    let line = "rmq-lite start --slave --set brokerName=b --set storePathCommitLog=/x --data-dir /d";
    let settings = start(line).settings().unwrap();
    let slave = settings.slave.unwrap();
    assert_eq!(slave.port, 11011);
    assert_eq!((slave.keys.broker_id, slave.keys.broker_name.as_str()), (1, "b"));
    assert_eq!(slave.keys.commit_log_dir().to_str(), Some("/d/slave/commitlog"));
    let other = start("rmq-lite start --slave-port 12000").settings().unwrap();
    assert_eq!(other.slave.unwrap().port, 12000);
    assert!(start("rmq-lite start").settings().unwrap().slave.is_none());
    for (line, text) in [
        ("rmq-lite start --slave --set brokerRole=SLAVE --set brokerId=1", "leave one of them out"),
        ("rmq-lite start --slave-port 10912", "both need port 10912"),
        ("rmq-lite start --slave-port 2", "broker port 2 is not possible"),
    ] {
        let refused = start(line).settings().unwrap_err().to_string();
        assert!(refused.contains(text), "{line}: {refused}");
    }
}

/// Wrong words get clap's message and exit code 2; help and version end with 0.
#[test]
fn exit_codes() {
    for line in [
        "rmq-lite",
        "rmq-lite begin",
        "rmq-lite start --nothing",
        "rmq-lite start --broker-port 70000",
        "rmq-lite start --bind localhost",
        "rmq-lite start --set brokerName",
        "rmq-lite start --set =1",
        "rmq-lite start --timings slow",
        "rmq-lite start --advertise host:port",
        "rmq-lite start --ephemeral --data-dir d",
        "rmq-lite run",
        "rmq-lite run --ephemeral",
        "mqbroker --nothing",
        "/opt/bin/mqnamesrv start",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
    for line in ["rmq-lite --help", "rmq-lite --version", "rmq-lite start -h", "mqbroker -h", "mqnamesrv -h"]
    {
        assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
    }
    assert_eq!(parse("rmq-lite --version").unwrap_err().kind(), ErrorKind::DisplayVersion);
}

/// `run` throws its server away, takes free ports unless told otherwise, and leaves the command's flags alone.
#[test]
fn run_command() {
    let Ok(Invocation::Own(Cli { command: Command::Run(args) })) =
        parse("rmq-lite run --namesrv-port 9876 -- mvn test --json -c x")
    else {
        panic!("not parsed");
    };
    assert_eq!(args.command, ["mvn", "test", "--json", "-c", "x"]);
    let settings = args.settings().unwrap();
    assert_eq!((settings.namesrv_port, settings.broker_port, settings.web_port), (9876, 0, Some(0)));
    assert!(settings.ephemeral && !settings.json && settings.config_file.is_none());
}

/// Called by the names of Apache's scripts, the program takes their options in both lengths.
#[test]
fn script_names() {
    for line in ["mqbroker -n a:1;b:2 -p -m", "/usr/bin/mqbroker --namesrvAddr a:1;b:2 --printConfigItem -m"]
    {
        let Ok(Invocation::Mqbroker(args)) = parse(line) else { panic!("{line}") };
        assert!(args.print_config_item && args.print_important_config);
        let settings = args.settings().unwrap();
        assert_eq!(settings.role, Role::Broker);
        assert_eq!(settings.broker.namesrv_addrs(), ["a:1", "b:2"]);
    }
    let Ok(Invocation::Mqbroker(args)) = parse("mqbroker --configFile conf/broker.conf") else { panic!() };
    assert_eq!(args.config.as_deref(), Some("conf/broker.conf".as_ref()));
    let Ok(Invocation::Mqnamesrv(args)) = parse("mqnamesrv -n ignored -p -c x.conf") else { panic!() };
    assert!(args.print_config_item && args.config.is_some());
    let Ok(Invocation::Own(Cli { command: Command::Namesrv(args) })) = parse("rmq-lite namesrv --port 0")
    else {
        panic!()
    };
    let settings = args.settings().unwrap();
    assert_eq!((settings.role, settings.namesrv_port, settings.web_port), (Role::NameServer, 0, None));
}

/// The commands about a running server look where `start` with the same words put it.
#[test]
fn same_directory() {
    for words in ["--name lesson", "--data-dir some/dir"] {
        let started = start(&format!("rmq-lite start {words}")).settings().unwrap().data_dir;
        let Ok(Invocation::Own(Cli { command: Command::Status(args) })) =
            parse(&format!("rmq-lite status --json {words}"))
        else {
            panic!("{words}");
        };
        assert!(args.json);
        assert_eq!(args.instance.dir().unwrap(), started);
    }
    let Ok(Invocation::Own(Cli { command: Command::Ready(args) })) = parse("rmq-lite ready --wait 5") else {
        panic!()
    };
    assert_eq!(args.wait, 5);
}
