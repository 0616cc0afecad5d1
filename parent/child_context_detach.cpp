// ChildContext: leaving the tree. Apart from the rest, because the agent never does.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "parent/child_context.h"
#include "parent/detach.h"

namespace banyan {

namespace {

// Where the transport listened, nobody does any more: whoever writes there is killed for it.
void leave_standard_error() {
  struct stat status {};
  if (::fstat(2, &status) != 0 || !(S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))) return;
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (null) ::dup2(null.get(), 2);
}

}  // namespace

// The kernel's bond to the parent is cut before asking, so that no death of the parent can fall between its
// consent and that. Should it not consent, the end of its link is a bond still.
void ChildContext::detach(OnDetached done) {
  const bool is_refused = !services_ || ending_ || detaching_;
  if (is_refused) {
    const std::string_view text = detaching_ ? "it detaches already, or has" : "it is not up, or is ending";
    return loop_.post([alive = alive_, done = std::move(done), text] {
      if (*alive) done(Error{ErrorClass::kRefused, Phase::kLink, text, {}});
    });
  }
  int bond = 0;
  ::prctl(PR_GET_PDEATHSIG, &bond);
  ::prctl(PR_SET_PDEATHSIG, 0);
  auto detach = std::make_shared<Detach>(router_, services_->ids, services_->routes);
  detaching_ = detach;
  detach->begin([this, bond, done = std::move(done)](const Result<Done>& result) {
    if (result) {
      if (nonce_ != 0) leave_standard_error();
    } else {
      // A dying one closes its link first: renewed now, its death would kill us in the middle of our own end.
      if (router_.parent_link() != nullptr) ::prctl(PR_SET_PDEATHSIG, bond);
      detaching_.reset();
    }
    done(result);
  });
}

}  // namespace banyan
