//! Whose queue is whose, when several brokers have a topic.

use rmq_lite::clock::Clock;
use rmq_lite::config::{Choices, Role, Settings};
use rmq_lite::lifecycle::Lifecycle;
use rmq_lite::remoting::client::Client;
use rmq_lite::server::Server;
use rmq_lite::wire::code::{request as code, response};
use serde_json::Value;

use crate::kit::{LIMIT, request};

fn settings(role: Role, namesrv: Option<&str>, set: &[(&str, &str)]) -> Settings {
    let choices = Choices {
        bind: Some("127.0.0.1".parse().unwrap()),
        namesrv_port: (role == Role::NameServer).then_some(0),
        namesrv_addr: namesrv.map(str::to_owned),
        set: set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Choices::default()
    };
    Settings::resolve(role, choices).unwrap()
}

/// Either of two brokers answers with the queues of both, to a member that pulls and to one that pops; when the other
/// one is gone, with its own.
#[tokio::test]
async fn queues_of_every_broker() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let namesrv = Server::start(settings(Role::NameServer, None, &[("kvConfigPath", &place("kv.json"))]))
        .await
        .unwrap();
    let (clock, life) = (Clock::new(), Lifecycle::new());
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for (name, queues) in [("b1", "2"), ("b2", "1")] {
        let set = [("brokerName", name), ("storePathRootDir", &place(name)), ("listenPort", "0")];
        let server = Server::start(settings(Role::Broker, Some(namesrv.namesrv()), &set)).await.unwrap();
        let address = server.endpoints().broker.clone().unwrap();
        let client = Client::connect(&*address, &clock, &life).await.unwrap();
        let topic = [
            ("topic", "T"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", queues),
            ("writeQueueNums", queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        let made = client.call(request(code::UPDATE_AND_CREATE_TOPIC, &topic), LIMIT).await.unwrap();
        assert_eq!(made.code, response::SUCCESS, "{:?}", made.remark);
        let heartbeat = r#"{"clientID":"c@1","consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY",
            "messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET",
            "subscriptionDataSet":[{"topic":"T","subString":"*","subVersion":1}]}],"producerDataSet":[]}"#;
        let heard = client.call(request(code::HEART_BEAT, &[]).with_body(heartbeat), LIMIT).await.unwrap();
        assert_eq!(heard.code, response::SUCCESS, "{:?}", heard.remark);
        servers.push(server);
        clients.push(client);
    }
    for client in &clients {
        assert_eq!(assigned(client, 3).await, ["b1 0 PULL", "b1 1 PULL", "b2 0 PULL"]);
        let pop = r#"{"consumerGroup":"g","mode":"POP","popShareQueueNum":0,"topic":"T"}"#;
        let set =
            client.call(request(code::SET_MESSAGE_REQUEST_MODE, &[]).with_body(pop), LIMIT).await.unwrap();
        assert_eq!(set.code, response::SUCCESS, "{:?}", set.remark);
        assert_eq!(assigned(client, 2).await, ["b1 -1 POP", "b2 -1 POP"]);
    }
    servers.pop().unwrap().stop().await;
    assert_eq!(assigned(&clients[0], 1).await, ["b1 -1 POP"]);
    namesrv.stop().await;
    assert_eq!(assigned(&clients[0], 1).await, ["b1 -1 POP"], "without a NameServer, too");
}

/// Asks until the answer has so many queues, as brokers register in the background.
async fn assigned(client: &Client, count: usize) -> Vec<String> {
    let asked = r#"{"clientId":"c@1","consumerGroup":"g","messageModel":"CLUSTERING","strategyName":"AVG","topic":"T"}"#;
    let until = async {
        loop {
            let question = request(code::QUERY_ASSIGNMENT, &[]).with_body(asked);
            let answer = client.call(question, LIMIT).await.unwrap();
            let answer: Value = serde_json::from_slice(&answer.body).unwrap();
            let queues = answer["messageQueueAssignments"].as_array().cloned().unwrap_or_default();
            if queues.len() == count {
                return queues;
            }
        }
    };
    let queues = tokio::time::timeout(LIMIT, until).await.expect("every broker's queues");
    let mut told: Vec<String> = queues
        .iter()
        .map(|one| {
            let queue = &one["messageQueue"];
            format!("{} {} {}", queue["brokerName"], queue["queueId"], one["mode"]).replace('"', "")
        })
        .collect();
    told.sort();
    told
}
