#include "core/stream.h"

#include <utility>

#include "core/assert.h"

namespace banyan {

StreamSender::StreamSender(Router& router, ContextId destination, Handle handle)
    : router_(router), flow_{router.id(), destination, router.next_stream_++}, handle_(handle) {
  ASSERT(router.next_stream_ != 0);  // four thousand million streams in one process
  router_.outbox_.attach(flow_, *this);
  news_ = router_.expect(
      destination, [this](const Reply& reply) { die(*reply.dead); }, true);
}

StreamSender::~StreamSender() {
  *alive_ = false;
  router_.pending_.erase(news_);
  router_.outbox_.detach(flow_, finished_);
  if (!finished_) {
    Header aborted = header();
    aborted.flags = kAborted | kLast;
    aborted.reply_to = kNoReply;  // nobody is left to be told
    router_.transmit(aborted, {});
  }
}

Header StreamSender::header() const {
  Header header;
  header.stream = flow_.stream;
  header.destination = flow_.destination;
  header.source = header.authority = flow_.source;
  header.handle = handle_;
  header.reply_to = news_;
  return header;
}

std::size_t StreamSender::room() {
  if (finished_ || dead_) return 0;
  const std::size_t bytes = router_.outbox_.room(flow_);
  starved_ = bytes == 0;
  return bytes;
}

void StreamSender::send(Bytes bytes) {
  ASSERT(!finished_ && !bytes.empty());
  if (!dead_) router_.outbox_.send_now(header(), bytes);
}

void StreamSender::finish() {
  ASSERT(!finished_);
  finished_ = true;
  router_.send(flow_.destination, handle_, {}, flow_.stream, news_);
}

// Told from inside the outbox's own work: the callback waits for the loop.
void StreamSender::room_may_have_come() {
  if (!starved_ || finished_ || dead_) return;
  if (router_.outbox_.room(flow_) == 0) return;
  starved_ = false;
  router_.loop().post([this, alive = alive_] {
    if (!*alive || !on_writable) return;
    auto call = std::move(on_writable);  // it may replace itself, or destroy us
    call();
    if (*alive && !on_writable) on_writable = std::move(call);
  });
}

void StreamSender::die(const Dead& dead) {
  dead_ = true;
  news_ = 0;
  const auto call = std::move(on_dead);  // it may destroy us
  if (call) call(dead);
}

}  // namespace banyan
