// cli/way_record.h -- what a way went through, for `doctor`.
//
// Plain values, filled in as it happens by whoever reaches the target.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/loop.h"
#include "parent/start_journal.h"
#include "transports/back_end.h"
#include "transports/known_keys.h"
#include "transports/ssh_settings.h"

namespace banyan::cli {

// Of several tries it has the last. What a hop starts has no journal: the hop tells what it came to.
struct WayRecord {
  Nanos began = 0, answered = 0;                // answered: ssh has told its settings; 0: not, or not asked
  std::shared_ptr<const SshSettings> settings;  // null for a target without ssh
  std::optional<BackEndChoice> choice;
  std::vector<KnownHostKey> known_keys;   // of the host, in known_hosts
  std::uint32_t attempts = 0;             // at a server that may drop some; 0: none
  std::shared_ptr<StartJournal> journal;  // null: nothing was started from here
  bool hop_failed = false;                // and it with that
};

}  // namespace banyan::cli
