// cli/ranges.h -- many names written short: web1, web2, web3, db becomes "web[1-3],db".
//
// The opposite of a target expression: parse_targets() of what comes out gives the same names again. Pure.
#pragma once

#include <string>
#include <vector>

namespace banyan::cli {

// `names` differ from each other. What stands first there stands first here; numbers ascend. Leading zeros
// are kept, several numbers in a name fold as far as they can, and addresses of IPv6 stay as they are.
std::string fold_names(const std::vector<std::string>& names);

}  // namespace banyan::cli
