// parent/log_sink.h -- where the log records of a whole tree arrive: at the root.
//
// Nothing in a record is believed: its origin is the source the links have vouched for, its text is made one
// line again, and each context has its quota here as well. Thread: the loop's.
#pragma once

#include <map>
#include <string_view>

#include "core/log.h"

namespace banyan {

// More than an honest context sends in any second, wherever its own seconds begin.
constexpr std::uint32_t kLogReceivedPerSecond = 2 * kLogRecordsPerSecond + 1;
constexpr std::size_t kLogOriginsMax =
    4'096;  // quotas remembered; beyond, those of quiet contexts are forgotten

class LogSink {
 public:
  // `text` is one line without control characters, valid during the call.
  using OnRecord = Function<void(ContextId origin, LogLevel level, std::string_view text)>;

  // Registers itself for kLog. REQUIRES: `router` is the root's.
  LogSink(Router& router, OnRecord on_record);
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;
  ~LogSink() { router_.remove_handler(kLog); }

  std::uint64_t malformed() const { return malformed_; }

 private:
  void on_message(Incoming& message);
  LogQuota& quota_of(ContextId origin, Nanos now);

  Router& router_;
  OnRecord on_record_;
  std::map<ContextId, LogQuota> quotas_;
  std::uint64_t malformed_ = 0;
};

}  // namespace banyan
