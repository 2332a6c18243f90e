// What the Go client does while it is recorded: `go run . <NameServer>`.
package main

import (
	"context"
	"os"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	rlog.SetLogLevel("fatal")
	resolver := primitive.NewPassthroughResolver([]string{os.Args[1]})
	p, err := rocketmq.NewProducer(producer.WithNsResolver(resolver), producer.WithGroupName("go_producer"),
		producer.WithInstanceName("go-p"), producer.WithSendMsgTimeout(30*time.Second))
	check(err)
	check(p.Start())
	message := func(body string) *primitive.Message {
		return primitive.NewMessage("Brief", []byte(body)).WithTag("TagA").WithKeys([]string{"go", body})
	}
	_, err = p.SendSync(context.Background(), message("one"))
	check(err)
	_, err = p.SendSync(context.Background(), message("two"), message("three"))
	check(err)
	check(p.SendOneWay(context.Background(), message("oneway")))

	seen := make(chan struct{}, 1000)
	c, err := rocketmq.NewPushConsumer(consumer.WithNsResolver(resolver), consumer.WithGroupName("go_consumer"),
		consumer.WithInstance("go-c"), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	check(err)
	check(c.Subscribe("Brief", consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for range messages {
			seen <- struct{}{}
		}
		return consumer.ConsumeSuccess, nil
	}))
	check(c.Start())
	for i := 0; i < 4; i++ {
		select {
		case <-seen:
		case <-time.After(time.Minute):
			panic("nothing consumed")
		}
	}
	check(c.Shutdown())
	check(p.Shutdown())
}
