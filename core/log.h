// core/log.h -- what a context has to say to the people at the root. core itself prints nothing.
//
// A record travels to context 0 as a message to kLog: [level, text]. It is one line, however hostile what it
// quotes; what exceeds the quota is counted and not queued, and the count is a record of its own. Who
// receives them, and trusts none of this: parent/log_sink.h. Thread: the loop's.
#pragma once

#include <string>
#include <string_view>

#include "core/router.h"

namespace banyan {

enum class LogLevel : std::uint8_t { kError, kWarning, kInformation, kDebug, kTrace };
constexpr std::uint8_t kLogLevelCount = 5;
std::string_view name_of(LogLevel level);

constexpr std::size_t kLogTextMax = 8 * 1024;        // of one record: a long error with what it quotes
constexpr std::uint32_t kLogRecordsPerSecond = 200;  // of one context: far more than anybody reads

// Control characters become \n, \t, \r or \xNN, so that one record stays one line; beyond kLogTextMax it is
// cut. What went through once goes through unchanged. Bytes of UTF-8 stay: who shows them to a terminal
// escapes more.
std::string one_line(std::string_view text);

// So many in each second; the others are counted.
class LogQuota {
 public:
  explicit LogQuota(std::uint32_t per_second) : per_second_(per_second) {}
  bool admit(Nanos now);
  bool is_over(Nanos now) const { return now >= second_ends_; }  // the second that was begun
  // How many were not admitted since last asked.
  std::uint32_t take_dropped() { return std::exchange(dropped_, 0); }

 private:
  const std::uint32_t per_second_;
  std::uint32_t left_ = 0, dropped_ = 0;
  Nanos second_ends_ = 0;
};
std::string dropped_text(std::uint32_t records);

class Logger {
 public:
  // Records above `level` go nowhere, and cost no more than asking wants().
  Logger(Router& router, LogLevel level) : router_(router), level_(level) {}
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;
  ~Logger() { router_.loop().cancel(timer_); }

  void set_level(LogLevel level) { level_ = level; }
  bool wants(LogLevel level) const { return level <= level_; }
  void log(LogLevel level, std::string_view text);

 private:
  void send(LogLevel level, std::string_view text);

  Router& router_;
  LogLevel level_;
  LogQuota quota_{kLogRecordsPerSecond};
  Loop::TimerId timer_ = 0;  // set while records are dropped
};

}  // namespace banyan
