package clients

import (
	"context"
	"testing"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// A message with a delay level comes once its delay is over, not earlier, with its tag and its id.
func TestDelayLevel(t *testing.T) {
	t.Parallel()
	topic := createTopic(t, shared, "delay", 1)
	r := consume(t, shared, unique("g"), topic, "A")
	later := message(topic, "A", "later")
	later.WithDelayTimeLevel(1)
	p := newProducer(t, shared)
	sent, err := p.SendSync(context.Background(), later)
	if err != nil {
		t.Fatal(err)
	}
	awaitAll(t, []string{"later"}, r)
	got := r.messages[0]
	equal(t, "its id", sent.MsgID, got.MsgId)
	if got.StoreTimestamp-got.BornTimestamp < 1000 {
		t.Errorf("it came after %d ms", got.StoreTimestamp-got.BornTimestamp)
	}
}

// What a listener fails comes again with one try more, and is a dead letter that can be read once the listener gives up.
func TestRetryAndDeadLetter(t *testing.T) {
	t.Parallel()
	topic, group := createTopic(t, shared, "retry", 1), unique("g")
	c, err := rocketmq.NewPushConsumer(consumer.WithNsResolver(resolver(shared)), consumer.WithGroupName(group),
		consumer.WithInstance(unique("c")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		t.Fatal(err)
	}
	r := &received{consumer: c}
	listen := func(ctx context.Context, batch ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		r.lock.Lock()
		defer r.lock.Unlock()
		r.messages = append(r.messages, batch...)
		again, _ := primitive.GetConcurrentlyCtx(ctx)
		again.DelayLevelWhenNextConsume = 1
		if batch[0].ReconsumeTimes == 2 {
			again.DelayLevelWhenNextConsume = -1
		}
		return consumer.ConsumeRetryLater, nil
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{}, listen); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown() })
	send(t, newProducer(t, shared), message(topic, "", "hopeless"))
	until(t, "there is a topic of dead letters", soon(), func() bool { return hasTopic(t, shared, "%DLQ%"+group) })
	dead := consume(t, shared, unique("reader"), "%DLQ%"+group, "*")
	awaitAll(t, []string{"hopeless"}, dead)
	r.lock.Lock()
	defer r.lock.Unlock()
	equal(t, "attempts", 3, len(r.messages))
	for i, m := range r.messages {
		equal(t, "tries", int32(i), m.ReconsumeTimes)
		equal(t, "its id", r.messages[0].MsgId, m.MsgId)
	}
	equal(t, "where it came from", topic, dead.messages[0].GetProperty("RETRY_TOPIC"))
}
