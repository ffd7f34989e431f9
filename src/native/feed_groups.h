// Numbers the sets of feeds that names belong to; the twin of `GroupTable` in src/feed/groups.ts. A member is the feed's
// number * 2, plus 1 for "and all below".
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <algorithm>
#include <map>
#include <vector>

namespace tidesman {

class FeedGroups {
 public:
  explicit FeedGroups(size_t feeds) : single_(feeds * 2, kNone), most_(feeds * 2) {}

  size_t size() const { return groups_.size(); }

  // The number of the group of one member: by far the most asked for.
  uint32_t number_of_one(uint32_t member) {
    uint32_t& number = single_[member];
    if (number == kNone) {
      number = static_cast<uint32_t>(groups_.size());
      groups_.push_back({member});
    }
    return number;
  }

  // Collects members, in any order and repeated as may be; then `number` tells their group and forgets them.
  void add(uint32_t member) {
    members_.push_back(member);
    if (members_.size() > most_ * 2 + 16) unite();
  }
  uint32_t number() {
    unite();
    // Where a feed lists a name with all below it, its plain listing of the same name adds nothing.
    size_t kept = 0;
    for (size_t index = 0; index < members_.size(); index++) {
      uint32_t member = members_[index];
      bool both = index + 1 < members_.size() && (member & 1) == 0 && members_[index + 1] == member + 1;
      if (!both) members_[kept++] = member;
    }
    members_.resize(kept);
    uint32_t number;
    if (kept == 1) {
      number = number_of_one(members_[0]);
    } else {
      auto [known, is_new] = numbers_.try_emplace(members_, static_cast<uint32_t>(groups_.size()));
      if (is_new) groups_.push_back(members_);
      number = known->second;
    }
    members_.clear();
    return number;
  }

  // The words of the table: where the members of each group begin, where the last end, the members.
  std::vector<uint32_t> words() const {
    std::vector<uint32_t> words = {0};
    for (const auto& group : groups_) words.push_back(words.back() + static_cast<uint32_t>(group.size()));
    for (const auto& group : groups_) words.insert(words.end(), group.begin(), group.end());
    return words;
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  void unite() {
    std::sort(members_.begin(), members_.end());
    members_.erase(std::unique(members_.begin(), members_.end()), members_.end());
  }

  std::vector<uint32_t> single_;
  size_t most_;
  std::vector<uint32_t> members_;
  std::map<std::vector<uint32_t>, uint32_t> numbers_;
  std::vector<std::vector<uint32_t>> groups_;
};

}  // namespace tidesman
