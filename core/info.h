// core/info.h -- what a context says of itself when asked, for `banyan tree`. Thread: the loop's.
#pragma once

#include "core/exec.h"

namespace banyan {

// The answer to a call to kInfo, which carries nothing: a MessagePack array in the order of the fields.
struct ContextInfo {
  std::int64_t pid = 0;
  std::uint64_t rss_kib = 0;  // of its own and shared pages; 0: /proc does not say
  std::uint64_t uptime_ms = 0;
  std::uint32_t running = 0;  // commands

  Buffer encode() const;
  static Result<ContextInfo> decode(Bytes bytes);
};

class InfoService {
 public:
  // Registers itself for kInfo (ancestors only). `exec` outlives it.
  InfoService(Loop& loop, Router& router, const ExecService& exec);
  InfoService(const InfoService&) = delete;
  InfoService& operator=(const InfoService&) = delete;
  ~InfoService() { router_.remove_handler(kInfo); }

 private:
  ContextInfo info() const;

  Loop& loop_;
  Router& router_;
  const ExecService& exec_;
  const Nanos began_;
};

}  // namespace banyan
