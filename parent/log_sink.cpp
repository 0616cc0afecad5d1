#include "parent/log_sink.h"

#include "core/msgpack.h"

namespace banyan {

LogSink::LogSink(Router& router, OnRecord on_record) : router_(router), on_record_(std::move(on_record)) {
  router_.add_handler(kLog, Access::anyone(), [this](Incoming& message) { on_message(message); });
}

void LogSink::on_message(Incoming& message) {
  const ContextId origin = message.header.source;
  const Nanos now = router_.loop().now();
  LogQuota& quota = quota_of(origin, now);
  const bool new_second = quota.is_over(now);
  if (!quota.admit(now)) return;
  if (new_second) {
    if (const std::uint32_t dropped = quota.take_dropped(); dropped > 0)
      on_record_(origin, LogLevel::kWarning, dropped_text(dropped));
  }
  Unpacker in(message.payload);
  const bool has_both = in.array() == 2;
  const auto level = LogLevel(in.number(kLogLevelCount - 1));
  const std::string_view text = in.text();
  if (message.header.has(kAborted) || !has_both || !in.finish()) {
    ++malformed_;
    return;
  }
  on_record_(origin, level, one_line(text));
}

LogQuota& LogSink::quota_of(ContextId origin, Nanos now) {
  if (quotas_.size() >= kLogOriginsMax && !quotas_.contains(origin))
    std::erase_if(quotas_, [&](const auto& entry) { return entry.second.is_over(now); });
  return quotas_.try_emplace(origin, kLogReceivedPerSecond).first->second;
}

}  // namespace banyan
