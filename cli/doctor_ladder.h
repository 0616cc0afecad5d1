// cli/doctor_ladder.h -- from what was seen of one target to the ladder that people are shown.
//
// Pure: all that was seen comes in as values, so that every way to fail is a test without a host.
#pragma once

#include <optional>
#include <string>

#include "cli/doctor_look.h"
#include "cli/doctor_text.h"
#include "cli/targets.h"
#include "cli/way_record.h"
#include "core/info.h"
#include "parent/runner.h"

namespace banyan::cli {

struct Seen {
  std::string target;
  Method method = Method::kSsh;
  std::string user;            // kSudo: who it becomes
  std::string container = {};  // kContainer: which
  Engine engine = Engine::kDocker;
  std::string hop = {};            // what it lies beneath; empty: we reach it ourselves
  bool is_hop = false;             // others lie beneath it, and it ends with the last of them
  const WayRecord* way = nullptr;  // not null
  std::optional<Child> child;      // it came up
  std::optional<ContextInfo> info;
  std::optional<Nanos> round_trip;
  std::optional<Look> look;
  std::optional<Error> error;     // why it is not well
  std::optional<Nanos> farewell;  // what its end took, when it came to that
  std::string left;               // what is still there of it; empty: nothing
  Nanos took = 0;
};

DoctorReport make_ladder(const Seen& seen);

}  // namespace banyan::cli
