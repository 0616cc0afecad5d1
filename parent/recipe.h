// parent/recipe.h -- how to start a child, as data.
//
// Made by whoever asks (transports/), executed by the runner of the context that becomes the parent
// (parent/runner.h): a new transport costs the agent no byte.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/frame.h"
#include "core/loop.h"
#include "core/result.h"
#include "parent/image.h"
#include "parent/start_journal.h"

namespace banyan {

// Deadlines of the phases. A process such as ssh is opaque until stage 0 reports: then resolving, connecting,
// key exchange, authentication and the login shell share `until_ready`.
struct Deadlines {
  Nanos resolve = 5 * kSecond, connect = 10 * kSecond, kex = 10 * kSecond, auth = 30 * kSecond,
        shell = 10 * kSecond;
  Nanos until_ready = 65 * kSecond;
  Nanos upload = 30 * kSecond;
  Nanos hello = 10 * kSecond;
  Nanos total = 0;  // all together; 0: no further limit

  Nanos of(Phase phase) const {
    switch (phase) {
      case Phase::kResolve:
        return resolve;
      case Phase::kConnect:
        return connect;
      case Phase::kKex:
        return kex;
      case Phase::kAuth:
        return auth;
      case Phase::kShell:
        return shell;
      default:
        return until_ready;
    }
  }
};

// What a line on the transport's stderr means, when the transport ends before stage 0 reports.
struct Symptom {
  std::string text;  // found anywhere in a line
  Phase phase;
  ErrorClass error_class;
  std::string remedy;
};

// The symptom that `text` (all that a transport printed) shows, or nullptr. The table's order decides, not
// the text's: a host key that changed is followed by more general complaints.
inline const Symptom* find_symptom(const std::vector<Symptom>& symptoms, std::string_view text) {
  for (const Symptom& symptom : symptoms) {
    if (text.find(symptom.text) != std::string_view::npos) return &symptom;
  }
  return nullptr;
}

class CarrierSource;
class Answerer;

struct Recipe {
  enum class Boot {
    kImage,   // the parent executes the image itself, from memory; argv is empty
    kStage0,  // argv, or the source, starts a transport whose far end runs stage 0 (bootstrap/stage0.sh)
    // As kImage, in the namespaces of a process of this machine: argv is its number, or the command that says
    // it (parent/entry.h). An error with `wrong_guess`: it may not be entered, and nothing has happened.
    kNamespaces,
  };
  // Of a transport that asks there and nowhere else (parent/transport_terminal.h).
  enum class Terminal : std::uint8_t {
    kNone,
    kControlling,
    kInput,  // the same, and its standard input; the channel's is kLinkDescriptor
  };
  std::string name;    // of the new context, for people: "web1"
  std::string method;  // "local", "ssh", ...
  Boot boot = Boot::kImage;
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  std::uint64_t nonce = 0;                                       // kStage0: the one its command text carries
  std::string architecture;  // kStage0: as uname -m says; empty: not known, wait for stage 0 to tell
  ImageKind kind = ImageKind::kAgent;
  // What few transports want. Apart, and by a pointer, since an agent carries recipes as well, without any.
  struct Extras {
    // What the transport's processes read as a file, which has no name in any folder (parent/back_channel.h).
    std::string file = {};
    // Answers what they ask; null: nobody does. Over a link goes where it is asked instead; 0: nowhere.
    std::shared_ptr<Answerer> answerer = nullptr;
    ContextId answered_by = 0;
    Handle answered_at = 0;
    Terminal terminal = Terminal::kNone;
  };
  std::shared_ptr<Extras> extras;  // null: none. A copy of the recipe shares them
  Extras& extra() {
    if (!extras) extras = std::make_shared<Extras>();
    return *extras;
  }
  Extras extra() const { return extras ? *extras : Extras(); }
  std::vector<Symptom> symptoms;
  std::shared_ptr<CarrierSource> source;  // null: a process of ours
  Deadlines deadlines;
  std::shared_ptr<StartJournal> journal;  // may be null
  // Lines of the transport's stderr that begin so are for the journal alone, and no symptoms. Empty: none.
  std::string asides;
};

}  // namespace banyan
