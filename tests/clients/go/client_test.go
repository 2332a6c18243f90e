package clients

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func init() {
	rlog.SetLogLevel("fatal")
}

// soon is the longest wait for what should come at once. It is shorter than the 20 and 30 seconds after which a client looks
// again by itself, so that a broker that leaves it to them is found out; Apache does now and then, so it gets more.
func soon() time.Duration {
	if shared.Oracle != "" {
		return time.Minute
	}
	return 15 * time.Second
}

func resolver(s *server) primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{s.Namesrv})
}

func newProducer(t *testing.T, s *server, more ...producer.Option) rocketmq.Producer {
	t.Helper()
	options := append([]producer.Option{producer.WithNsResolver(resolver(s)), producer.WithGroupName(unique("pg")),
		producer.WithInstanceName(unique("p")), producer.WithSendMsgTimeout(10 * time.Second), producer.WithRetry(2)}, more...)
	p, err := rocketmq.NewProducer(options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

func message(topic, tag, body string) *primitive.Message {
	m := primitive.NewMessage(topic, []byte(body))
	if tag != "" {
		m.WithTag(tag)
	}
	return m
}

func send(t *testing.T, p rocketmq.Producer, m ...*primitive.Message) *primitive.SendResult {
	t.Helper()
	result, err := p.SendSync(context.Background(), m...)
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != primitive.SendOK {
		t.Fatalf("not SEND_OK: %v", result)
	}
	return result
}

func sendMany(t *testing.T, p rocketmq.Producer, topic, what string, count int) []string {
	t.Helper()
	var bodies []string
	for i := 0; i < count; i++ {
		body := fmt.Sprintf("%s%03d", what, i)
		send(t, p, message(topic, "T", body))
		bodies = append(bodies, body)
	}
	return bodies
}

// received is what one push consumer has been given.
type received struct {
	consumer rocketmq.PushConsumer
	lock     sync.Mutex
	messages []*primitive.MessageExt
}

func (r *received) bodies() []string {
	r.lock.Lock()
	defer r.lock.Unlock()
	var bodies []string
	for _, m := range r.messages {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

// topicMessages gives the messages by the queue that they came from.
func (r *received) queues() map[int]int {
	r.lock.Lock()
	defer r.lock.Unlock()
	queues := map[int]int{}
	for _, m := range r.messages {
		queues[m.Queue.QueueId]++
	}
	return queues
}

func consume(t *testing.T, s *server, group, topic, tags string, more ...consumer.Option) *received {
	t.Helper()
	return consumeSelected(t, s, group, topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}, more...)
}

func consumeSelected(t *testing.T, s *server, group, topic string, wanted consumer.MessageSelector, more ...consumer.Option) *received {
	t.Helper()
	options := append([]consumer.Option{consumer.WithNsResolver(resolver(s)), consumer.WithGroupName(group),
		consumer.WithInstance(unique("c")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, more...)
	c, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		t.Fatal(err)
	}
	r := &received{consumer: c}
	err = c.Subscribe(topic, wanted,
		func(_ context.Context, batch ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			r.lock.Lock()
			defer r.lock.Unlock()
			r.messages = append(r.messages, batch...)
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown() })
	return r
}

// awaitAll waits until every body has come to one of the consumers.
func awaitAll(t *testing.T, wanted []string, members ...*received) {
	t.Helper()
	until(t, fmt.Sprintf("all of %d messages arrive", len(wanted)), soon(), func() bool {
		got := map[string]bool{}
		for _, member := range members {
			for _, body := range member.bodies() {
				got[body] = true
			}
		}
		for _, body := range wanted {
			if !got[body] {
				return false
			}
		}
		return true
	})
}

func newAdmin(t *testing.T, s *server) admin.Admin {
	t.Helper()
	a, err := admin.NewAdmin(admin.WithResolver(resolver(s)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func createTopic(t *testing.T, s *server, what string, queues int) string {
	t.Helper()
	if s.Broker == "" {
		t.Skip("set BROKER_ADDR to the broker of the running server")
	}
	topic := unique(what)
	err := newAdmin(t, s).CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(s.Broker),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the topic is known", soon(), func() bool { return hasTopic(t, s, topic) })
	return topic
}

func hasTopic(t *testing.T, s *server, topic string) bool {
	t.Helper()
	list, err := newAdmin(t, s).FetchAllTopicList(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list.TopicList {
		if name == topic {
			return true
		}
	}
	return false
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("%s: want %v, got %v", what, want, got)
	}
}

func sorted(bodies []string) []string {
	copied := append([]string{}, bodies...)
	sort.Strings(copied)
	return copied
}

// Synchronous sends to one queue get the offsets 0, 1, 2, …, and a consumer gets every message with its attributes.
func TestSendSync(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "sync", 1)
	p := newProducer(t, shared)
	var bodies []string
	for i := 0; i < 20; i++ {
		m := message(topic, "TagA", fmt.Sprintf("m%02d", i)).WithKeys([]string{"k1", "k2"})
		m.WithProperty("city", "杭州")
		equal(t, "queue offset", int64(i), send(t, p, m).QueueOffset)
		bodies = append(bodies, string(m.Body))
	}
	r := consume(t, shared, unique("g"), topic, "*")
	awaitAll(t, bodies, r)
	equal(t, "none twice", bodies, sorted(r.bodies()))
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, m := range r.messages {
		equal(t, "tag", "TagA", m.GetTags())
		equal(t, "keys", "k1 k2", m.GetKeys())
		equal(t, "property", "杭州", m.GetProperty("city"))
	}
}

// The first send to a topic that nobody created makes it, and a consumer gets the message.
func TestFirstSendCreatesTheTopic(t *testing.T) {
	t.Parallel()
	topic := unique("auto")
	equal(t, "queue offset", int64(0), send(t, newProducer(t, shared), message(topic, "", "hello")).QueueOffset)
	awaitAll(t, []string{"hello"}, consume(t, shared, unique("g"), topic, "*"))
}

// Every asynchronous send calls back once, without an error.
func TestSendAsync(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "async", 4)
	p := newProducer(t, shared)
	results := make(chan error, 400)
	var bodies []string
	for i := 0; i < 200; i++ {
		bodies = append(bodies, fmt.Sprintf("m%03d", i))
		err := p.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
			if err == nil && result.Status != primitive.SendOK {
				err = fmt.Errorf("status %v", result.Status)
			}
			results <- err
		}, message(topic, "", bodies[i]))
		if err != nil {
			t.Fatal(err)
		}
	}
	var failures []error // all are waited for first: the client panics when it is shut down with an answer missing
	for range bodies {
		select {
		case err := <-results:
			if err != nil {
				failures = append(failures, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("not all sends are answered")
		}
	}
	if len(failures) > 0 {
		if shared.Oracle != "" && strings.Contains(failures[0].Error(), "broker busy") {
			t.Skip("Apache refuses sends that wait for 200 ms on a busy machine")
		}
		t.Fatal(failures)
	}
	awaitAll(t, bodies, consume(t, shared, unique("g"), topic, "*"))
	equal(t, "callbacks beyond one each", 0, len(results))
}

// One-way messages are stored although nobody waits for an answer.
func TestSendOneway(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "oneway", 2)
	p := newProducer(t, shared)
	var bodies []string
	for i := 0; i < 50; i++ {
		bodies = append(bodies, fmt.Sprintf("m%02d", i))
		if err := p.SendOneWay(context.Background(), message(topic, "", bodies[i])); err != nil {
			t.Fatal(err)
		}
	}
	awaitAll(t, bodies, consume(t, shared, unique("g"), topic, "*"))
}

// A batch is stored as single messages with consecutive offsets.
func TestSendBatch(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "batch", 1)
	p := newProducer(t, shared)
	var batch []*primitive.Message
	var bodies []string
	for i := 0; i < 30; i++ {
		bodies = append(bodies, fmt.Sprintf("b%02d", i))
		batch = append(batch, message(topic, "T", bodies[i]))
	}
	equal(t, "offset of the first", int64(0), send(t, p, batch...).QueueOffset)
	equal(t, "offset behind the batch", int64(30), send(t, p, message(topic, "T", "after")).QueueOffset)
	r := consume(t, shared, unique("g"), topic, "T")
	awaitAll(t, append(bodies, "after"), r)
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, m := range r.messages {
		if string(m.Body) != "after" {
			equal(t, "offset of "+string(m.Body), fmt.Sprintf("b%02d", m.QueueOffset), string(m.Body))
		}
	}
}

// A message over the broker's limit is refused, and the same producer can go on.
func TestMessageOverTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "huge", 1)
	p := newProducer(t, shared, producer.WithRetry(0), producer.WithCompressMsgBodyOverHowmuch(64<<20))
	result, err := p.SendSync(context.Background(), message(topic, "", strings.Repeat("x", 4<<20+1)))
	if err == nil && result.Status == primitive.SendOK {
		t.Fatalf("it was taken: %v", result)
	}
	equal(t, "nothing of it was stored", int64(0), send(t, p, message(topic, "", "small")).QueueOffset)
}

// Two members of a group split the queues; when one leaves, the other gets everything.
func TestClusteringSplitsAndTakesOver(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "cluster", 8)
	group := unique("g")
	p := newProducer(t, shared, producer.WithQueueSelector(producer.NewRoundRobinQueueSelector()))
	one := consume(t, shared, group, topic, "*")
	two := consume(t, shared, group, topic, "*")

	// The client does not tell its queues: rounds of messages show when both members work.
	var all []string
	for round := 0; ; round++ {
		before := len(one.bodies())
		bodies := sendMany(t, p, topic, fmt.Sprintf("r%d-", round), 16)
		all = append(all, bodies...)
		awaitAll(t, bodies, one, two)
		if got := len(one.bodies()) - before; got == 8 {
			break
		}
		if round == 1000 {
			t.Fatalf("the members never have half of the messages each: %v and %v", one.queues(), two.queues())
		}
	}
	if err := two.consumer.Shutdown(); err != nil {
		t.Fatal(err)
	}
	rest := sendMany(t, p, topic, "rest-", 32)
	awaitAll(t, rest, one)
	awaitAll(t, all, one, two)
}

// In broadcast mode every member gets every message.
func TestBroadcast(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "broadcast", 4)
	group := unique("g")
	one := consume(t, shared, group, topic, "*", consumer.WithConsumerModel(consumer.BroadCasting))
	two := consume(t, shared, group, topic, "*", consumer.WithConsumerModel(consumer.BroadCasting))
	bodies := sendMany(t, newProducer(t, shared), topic, "m", 40)
	awaitAll(t, bodies, one)
	awaitAll(t, bodies, two)
}

// A subscription A || B brings the messages with tag A or B and no other.
func TestTagFilter(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "tags", 1)
	r := consume(t, shared, unique("g"), topic, "A || B")
	p := newProducer(t, shared)
	var wanted []string
	for i := 0; i < 30; i++ {
		tag := []string{"A", "B", "C"}[i%3]
		body := fmt.Sprintf("%s%02d", tag, i)
		send(t, p, message(topic, tag, body))
		if tag != "C" {
			wanted = append(wanted, body)
		}
	}
	send(t, p, message(topic, "", "untagged"))
	send(t, p, message(topic, "A", "last"))
	wanted = append(wanted, "last")
	awaitAll(t, wanted, r)
	equal(t, "no other, none twice", sorted(wanted), sorted(r.bodies()))
}

// A consumer that selects by SQL92 gets the messages whose properties match, and no other.
func TestSqlFilter(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "sql", 2)
	wanted := consumer.MessageSelector{Type: consumer.SQL92, Expression: "n BETWEEN 3 AND 5 OR region IN ('north') OR last IS NOT NULL"}
	r := consumeSelected(t, shared, unique("g"), topic, wanted)
	p := newProducer(t, shared)
	for n := 0; n < 8; n++ {
		m := message(topic, "T", fmt.Sprint("m", n))
		m.WithProperty("n", fmt.Sprint(n))
		send(t, p, m)
	}
	north := message(topic, "T", "north")
	north.WithProperty("region", "north")
	send(t, p, north)
	send(t, p, message(topic, "T", "plain"))
	last := message(topic, "T", "last")
	last.WithProperty("last", "yes")
	send(t, p, last)
	all := []string{"last", "m3", "m4", "m5", "north"}
	awaitAll(t, all, r)
	equal(t, "messages", all, sorted(r.bodies()))
}

// A consumer that is there before its topic gets the topic's first message, and those that follow, without waiting for
// the half minute after which it would look for the topic again.
func TestConsumerFirstTopicLater(t *testing.T) {
	t.Parallel()
	topic := unique("later")
	received := consume(t, shared, unique("g"), topic, "*")
	awaitAll(t, sendMany(t, newProducer(t, shared), topic, "m", 20), received)
}

// What a group has consumed does not come again after the server was stopped and started, and what it has not does.
func TestOffsetsSurviveARestart(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	topic, group := createTopic(t, s, "restart", 4), unique("g")
	p := newProducer(t, s)
	old := sendMany(t, p, topic, "old", 20)
	before := consume(t, s, group, topic, "*")
	awaitAll(t, old, before)
	if err := before.consumer.Shutdown(); err != nil { // commits the offsets
		t.Fatal(err)
	}
	between := sendMany(t, p, topic, "between", 20)
	s.stop(t)
	s.startAgain(t)
	after := consume(t, s, group, topic, "*")
	awaitAll(t, between, after)
	fresh := sendMany(t, newProducer(t, s), topic, "new", 20)
	awaitAll(t, fresh, after)
	for _, body := range after.bodies() {
		if strings.HasPrefix(body, "old") {
			t.Fatalf("%s was consumed before and came again", body)
		}
	}
}

// The admin API makes a topic, which is listed and has its queues, and deletes it, after which it is not listed.
func TestAdminCreatesAndDeletesTopics(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "admin", 3)
	a := newAdmin(t, shared)
	queues, err := a.FetchPublishMessageQueues(context.Background(), topic)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "queues", 3, len(queues))
	if err := a.DeleteTopic(context.Background(), admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(shared.Broker)); err != nil {
		t.Fatal(err)
	}
	until(t, "the topic is gone", soon(), func() bool { return !hasTopic(t, shared, topic) })
}

// The admin API lists a group that has consumed.
func TestAdminListsGroups(t *testing.T) {
	t.Parallel()
	topic, group := createTopic(t, shared, "groups", 1), unique("g")
	r := consume(t, shared, group, topic, "*")
	awaitAll(t, sendMany(t, newProducer(t, shared), topic, "m", 1), r)
	groups, err := newAdmin(t, shared).GetAllSubscriptionGroup(context.Background(), shared.Broker, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, listed := groups.SubscriptionGroupTable[group]; !listed {
		t.Fatalf("%s is not listed", group)
	}
}

// A pull consumer polls what was sent, acknowledges it, and a later one of its group gets only what came after.
func TestPullConsumerPolls(t *testing.T) {
	t.Parallel()
	topic, group := createTopic(t, shared, "pull", 2), unique("g")
	p := newProducer(t, shared)
	old := sendMany(t, p, topic, "old", 10)
	poll := func(wanted []string) []string {
		c, err := rocketmq.NewPullConsumer(consumer.WithNsResolver(resolver(shared)), consumer.WithGroupName(group),
			consumer.WithInstance(unique("pull")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var got []string
		var queue *primitive.MessageQueue
		deadline := time.Now().Add(soon())
		for len(got) < len(wanted) && time.Now().Before(deadline) {
			batch, err := c.Poll(context.Background(), time.Second)
			if errors.Is(err, consumer.ErrNoNewMsg) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range batch.GetMsgList() {
				got = append(got, string(m.Body))
			}
			c.ACK(context.Background(), batch, consumer.ConsumeSuccess)
			queue = batch.GetMQ()
		}
		// Offsets go one way; once a later question on the same connection is answered, the broker has them.
		if err := c.PersistOffset(context.Background(), topic); err != nil {
			t.Fatal(err)
		}
		if _, err := c.PullFrom(context.Background(), queue, 0, 1); err != nil {
			t.Fatal(err)
		}
		if err := c.Shutdown(); err != nil {
			t.Fatal(err)
		}
		return sorted(got)
	}
	equal(t, "first", old, poll(old))
	fresh := sendMany(t, p, topic, "new", 10)
	equal(t, "second", fresh, poll(fresh))
}
