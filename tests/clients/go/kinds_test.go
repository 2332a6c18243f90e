package clients

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// ledger is what a producer knows of its transactions, by the beginnings of their bodies.
type ledger struct {
	local, check func(body string) primitive.LocalTransactionState
	lock         sync.Mutex
	checked      []string
}

func (l *ledger) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	return l.local(string(m.Body))
}

func (l *ledger) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.checked = append(l.checked, string(m.Body))
	return l.check(string(m.Body))
}

func fate(body string) primitive.LocalTransactionState {
	switch {
	case strings.HasPrefix(body, "yes"):
		return primitive.CommitMessageState
	case strings.HasPrefix(body, "no"):
		return primitive.RollbackMessageState
	default:
		return primitive.UnknowState
	}
}

func newTransactionProducer(t *testing.T, s *server, l *ledger) rocketmq.TransactionProducer {
	t.Helper()
	p, err := rocketmq.NewTransactionProducer(l, producer.WithNsResolver(resolver(s)), producer.WithGroupName(unique("tx")),
		producer.WithInstanceName(unique("tx")))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

// A transaction is delivered when it is committed, at once or after a check, and never when it is rolled back.
func TestTransactions(t *testing.T) {
	topic := createTopic(t, shared, "transactions", 2)
	l := &ledger{local: fate, check: func(body string) primitive.LocalTransactionState {
		return fate(strings.TrimPrefix(body, "later "))
	}}
	r := consume(t, shared, unique("g"), topic, "*")
	p := newTransactionProducer(t, shared, l)
	for _, body := range []string{"yes 1", "no 1", "later yes", "later no", "yes 2"} {
		result, err := p.SendMessageInTransaction(context.Background(), message(topic, "T", body))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, body, fate(body), result.State)
	}
	// A producer's first heartbeat can come too early to tell of it; the next one comes after 30 s.
	until(t, "both are checked", soon()+31*time.Second, func() bool {
		l.lock.Lock()
		defer l.lock.Unlock()
		return len(l.checked) == 2
	})
	awaitAll(t, []string{"yes 1", "yes 2", "later yes"}, r)
	equal(t, "delivered", []string{"later yes", "yes 1", "yes 2"}, sorted(r.bodies()))
}

// The messages of each queue come to orderly consumers in the order in which they were sent.
func TestOrderly(t *testing.T) {
	topic := createTopic(t, shared, "orderly", 2)
	p := newProducer(t, shared, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	r := consume(t, shared, unique("g"), topic, "*", consumer.WithConsumerOrder(true))
	var wanted []string
	for step := 0; step < 10; step++ {
		for _, order := range []string{"a", "b", "c"} {
			body := order + string(rune('0'+step))
			m := message(topic, "T", body)
			m.WithShardingKey(order)
			send(t, p, m)
			wanted = append(wanted, body)
		}
	}
	awaitAll(t, wanted, r)
	last := map[byte]byte{}
	for _, body := range r.bodies() {
		if before, known := last[body[0]]; known && body[1] != before+1 {
			t.Fatalf("%s comes after %c in %v", body, before, r.bodies())
		}
		last[body[0]] = body[1]
	}
}

// A request waits for the reply that a consumer sends; without one it ends with its time-out.
func TestRequestReply(t *testing.T) {
	topic := createTopic(t, shared, "request", 1)
	replier := newProducer(t, shared)
	c, err := rocketmq.NewPushConsumer(consumer.WithNsResolver(resolver(shared)), consumer.WithGroupName(unique("echo")),
		consumer.WithInstance(unique("c")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		t.Fatal(err)
	}
	err = c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, batch ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range batch {
			if string(m.Body) == "silence" {
				continue
			}
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err != nil {
				return consumer.ConsumeRetryLater, err
			}
			reply.Body = append([]byte("re: "), m.Body...)
			if _, err := replier.SendSync(context.Background(), reply); err != nil {
				return consumer.ConsumeRetryLater, err
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown() })
	p := newProducer(t, shared)
	reply, err := p.Request(context.Background(), soon(), message(topic, "T", "ping"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the reply", "re: ping", string(reply.Body))
	if _, err := p.Request(context.Background(), time.Second, message(topic, "T", "silence")); err == nil {
		t.Fatal("silence was answered")
	}
}
