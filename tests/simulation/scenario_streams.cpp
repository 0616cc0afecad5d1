// Scenario: streams, and what of them must arrive.
#include <algorithm>

#include "core/text.h"
#include "tests/simulation/scenario.h"

namespace banyan::simulation {

namespace {

constexpr std::size_t kMessageBytesMax = 30'000;
constexpr std::size_t kStreamsMax = 60;
constexpr std::size_t kCrowd = 6;              // so that all can end within the minutes that they have
constexpr std::uint32_t kCrowdedStream = 300;  // messages: enough that a turn never passed on would be seen

}  // namespace

void Scenario::open_stream() {
  SimNode* sender = somebody();
  SimNode* receiver = somebody();
  open_stream(sender, receiver, 1 + std::uint32_t(below(one_in(5) ? 60 : 8)));
}

// Long streams that all want through one link at once, from a node and from beneath it.
void Scenario::crowd() {
  SimNode& at = *tree_->nodes()[1 + below(tree_->nodes().size() - 1)];
  for (const auto& node : tree_->nodes())
    for (int i = 0; i < 2 && streams_.size() < kCrowd && node->is_beneath(at); ++i)
      if (node->is_up && node->is_alive) open_stream(node.get(), &tree_->root(), kCrowdedStream);
}

void Scenario::open_stream(SimNode* sender, SimNode* receiver, std::uint32_t planned) {
  if (sender == nullptr || receiver == nullptr || sender == receiver || streams_.size() >= kStreamsMax)
    return;
  streams_.push_back(std::make_unique<Stream>());
  Stream& stream = *streams_.back();
  stream.number = streams_.size();
  stream.sender = sender;
  stream.receiver = receiver;
  stream.planned = planned;
  stream.was_way_known = is_way_known(*sender, *receiver);
  note("stream ", stream.number, " from ", sender->id, " to ", receiver->id, ", ", stream.planned,
       " messages");
  ++outcome_.streams;
  stream.out = std::make_unique<StreamSender>(sender->router, receiver->id, kSink);
  stream.out->on_writable = [this, &stream] { write(stream); };
  stream.out->on_dead = [this, &stream](const Dead& dead) {
    note("stream ", stream.number, " is dead: ", name_of(dead.reason), ", ", dead.text);
    stream.is_dead = true;
    if (!is_path_honest(*stream.sender, *stream.receiver)) return;
    const bool may_be_refused =
        has_small_limits_ && (dead.reason == DeadReason::kQuota || dead.reason == DeadReason::kBusy);
    const bool was_forbidden =
        dead.reason == DeadReason::kPolicy &&
        (!is_allowed(*stream.sender, *stream.receiver) || options_.router.sideways == Sideways::kIntroduced);
    if (stream.was_way_known && is_path_whole(*stream.sender, *stream.receiver) && !may_be_refused &&
        !was_forbidden)
      broken(Invariant::kOneCompletion, cat("stream ", stream.number, " to ", stream.receiver->id,
                                            ", which lives, is dead: ", dead.text));
  };
  write(stream);
}

// As much as there is room for, and the end after that.
void Scenario::write(Stream& stream) {
  if (stream.is_finished || stream.is_aborted || stream.is_dead || !stream.sender->is_alive) return;
  for (std::size_t room = stream.out->room(); room > 0 && stream.sent < stream.planned;
       room = stream.out->room()) {
    const std::size_t bytes = std::min<std::size_t>(room, kStampBytes + below(kMessageBytesMax));
    stream.out->send(stamped({stream.number, stream.sender->index, ++stream.sent}, bytes));
    if (one_in(4)) break;
  }
  if (stream.sent < stream.planned) {
    if (stream.out->room() > 0)
      stream.sender->loop.after(Nanos(below(3)) * kMillisecond, [this, &stream] {
        if (stream.out) write(stream);
      });
    return;
  }
  note("stream ", stream.number, " is finished");
  stream.is_finished = true;
  stream.out->finish();
}

void Scenario::on_message(SimNode& node, Incoming& message) {
  const StreamKey key{node.index, message.header.source, message.header.stream};
  const std::optional<Stamp> stamp = stamp_of(message.payload);
  if (stamp && !check_origin(node, message.header, *stamp)) return;
  if (stamp && stamp->number == kForged) return;
  Stream* stream = nullptr;
  if (stamp) {
    stream = streams_[stamp->number - 1].get();
    stream_of_[key] = stream;
  } else if (const auto found = stream_of_.find(key); found != stream_of_.end()) {
    stream = found->second;
  }
  if (stream == nullptr || !is_path_honest(*stream->sender, node)) return;
  if (stream->receiver != &node)
    broken(Invariant::kRouteSoundness, cat("stream ", stream->number, " came to ", node.id));
  if (stream->has_ended || stream->was_cut_off)
    return broken(Invariant::kOrder, cat("something comes on stream ", stream->number, " after its end"));
  if (message.header.has(kAborted)) {
    note("stream ", stream->number, " is cut off at ", node.id);
    stream->was_cut_off = true;
    if (!stream->is_aborted && !stream->is_dead && is_path_whole(*stream->sender, node))
      broken(Invariant::kOrder, cat("stream ", stream->number, " is cut off, and its sender lives"));
    return;
  }
  if (!stamp) {
    note("stream ", stream->number, " has ended at ", node.id);
    stream->has_ended = true;
    if (stream->received > 0 && (stream->received != stream->sent || !stream->is_finished))
      broken(Invariant::kOrder, cat("stream ", stream->number, " has ended after ", stream->received, " of ",
                                    stream->sent, " messages"));
    return;
  }
  // Its beginning may have come before it was known, or allowed; its sender is told.
  if (stream->received == 0 &&
      (!stream->was_way_known || has_small_limits_ || options_.router.sideways == Sideways::kIntroduced))
    stream->received = stamp->detail - 1;
  if (stamp->detail != stream->received + 1)
    return broken(Invariant::kOrder, cat("message ", stamp->detail, " of stream ", stream->number,
                                         " comes after message ", stream->received));
  ++stream->received;
  // A reader with moods: sometimes it lets things lie.
  if (readers_are_prompt_ || !one_in(2)) return;
  kept_.push_back(std::move(message.charge));
}

void Scenario::move_some_stream() {
  if (streams_.empty()) return;
  Stream& stream = *streams_[below(streams_.size())];
  if (!stream.sender->is_alive || !stream.out) return;
  if (one_in(4)) {
    note("stream ", stream.number, " is given up");
    if (!stream.is_finished) stream.is_aborted = true;
    stream.out.reset();
  } else {
    stream.planned += stream.is_finished ? 0 : std::uint32_t(below(10));
    write(stream);
  }
}

void Scenario::close_streams() {
  for (const auto& stream : streams_) {
    if (!stream->out) continue;
    if (!stream->is_finished) stream->is_aborted = true;
    stream->out.reset();
  }
}

// When readers have read all, and writers have written all.
void Scenario::check_streams() {
  for (const auto& stream : streams_) {
    if (stream->receiver->is_tainted() || !stream->receiver->is_connected() ||
        !is_path_honest(*stream->sender, *stream->receiver))
      continue;
    const bool has_news = stream->has_ended || stream->was_cut_off;
    if (!stream->sender->is_connected()) {
      if (stream->received > 0 && !has_news)
        broken(Invariant::kConvergence,
               cat("stream ", stream->number, " is open still, and its sender is gone"));
      continue;
    }
    const bool is_over = has_news || stream->is_dead;
    if ((stream->is_finished || stream->is_aborted) && !is_over && stream->received > 0)
      broken(Invariant::kProgress, cat("stream ", stream->number, " has not ended: ", stream->received,
                                       " of ", stream->sent, " messages came"));
    if (!stream->is_finished && !stream->is_aborted && !is_over)
      broken(Invariant::kProgress, cat("stream ", stream->number, " is not written to its end: ",
                                       stream->sent, " of ", stream->planned, " messages"));
  }
  // Nobody listens to these, and their senders know.
  for (const auto& stream : streams_) {
    if (stream->sender->is_tainted() || !stream->sender->is_connected() || stream->receiver->is_connected() ||
        stream->is_aborted || !stream->out)
      continue;
    if (!stream->is_dead)
      broken(Invariant::kNoBlackHole,
             cat("stream ", stream->number, " leads nowhere, and its sender does not know"));
  }
}

}  // namespace banyan::simulation
