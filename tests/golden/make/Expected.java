import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Prints what Apache's own decoders read: {@code Expected store <commitlog dir>} or {@code Expected frames <file>}. */
public final class Expected {
    public static void main(String[] args) throws Exception {
        PrintWriter out = new PrintWriter(System.out, false, StandardCharsets.UTF_8);
        if (args[0].equals("store")) {
            List<Path> files;
            try (Stream<Path> listed = Files.list(Path.of(args[1]))) {
                files = listed.sorted().collect(Collectors.toList());
            }
            for (Path file : files) {
                store(ByteBuffer.wrap(Files.readAllBytes(file)), out);
            }
        } else {
            frames(ByteBuffer.wrap(Files.readAllBytes(Path.of(args[1]))), out);
        }
        out.flush();
        System.exit(0);
    }

    /** One line per record: offset, size, topic, queue, index, flag, system flag, four times and hosts, ... */
    private static void store(ByteBuffer file, PrintWriter out) {
        while (file.remaining() > 8) {
            int at = file.position();
            int size = file.getInt(at);
            MessageExt message = MessageDecoder.decode(file, true, false);
            if (message == null) { // the blank end, or nothing yet
                return;
            }
            file.position(at + size);
            out.println(String.join("\t", List.of(
                text(message.getCommitLogOffset()), text(size), message.getTopic(), text(message.getQueueId()), text(message.getQueueOffset()),
                text(message.getFlag()), text(message.getSysFlag()), text(message.getBornTimestamp()), message.getBornHost().toString(),
                text(message.getStoreTimestamp()), message.getStoreHost().toString(), text(message.getReconsumeTimes()),
                text(message.getPreparedTransactionOffset()), text(message.getBodyCRC()), text(UtilAll.crc32(message.getBody())),
                text(message.getBody().length), message.getMsgId(), pairs(message.getProperties()))));
        }
    }

    /** One line per frame: code, language, version, opaque, flag, header kind, body length, remark, fields. */
    private static void frames(ByteBuffer frames, PrintWriter out) throws Exception {
        while (frames.hasRemaining()) {
            byte[] frame = new byte[frames.getInt()];
            frames.get(frame);
            RemotingCommand command = RemotingCommand.decode(ByteBuffer.wrap(frame));
            Map<String, String> fields = command.getExtFields();
            out.println(String.join("\t", List.of(
                text(command.getCode()), text(command.getLanguage().getCode()), text(command.getVersion()), text(command.getOpaque()),
                text(command.getFlag()), command.getSerializeTypeCurrentRPC().name(),
                text(command.getBody() == null ? 0 : command.getBody().length),
                String.valueOf(command.getRemark()).replace("\n", "\\n"), fields == null ? "" : pairs(fields))));
        }
    }

    /** Pairs in order of their names; each ends with 0x03, which no value here contains. */
    private static String pairs(Map<String, String> pairs) {
        StringBuilder text = new StringBuilder();
        new TreeMap<>(pairs).forEach((key, value) -> text.append(key).append('=').append(value.replace("\n", "\\n")).append('\u0003'));
        return text.toString();
    }

    private static String text(long number) {
        return Long.toString(number);
    }
}
