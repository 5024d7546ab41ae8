# What lockstep will take a setting to be. Sourced by launch/train and the Slurm script, never run.
# shellcheck shell=bash disable=SC2154

# The value of setting $1 on lockstep's command line (options), else in the settings file (config),
# else $2. Reads the file as lockstep does (src/cli/settings_file.cpp).
setting() {
  local value i
  value="$(awk -v wanted="$1" -v default_value="$2" '
    function trim(text) {
      gsub(/^[ \t\r]+|[ \t\r]+$/, "", text)
      return text
    }
    # Without the quotes; two of them within are one.
    function unquoted(text, end, value) {
      text = substr(text, 2)
      while ((end = index(text, "\"")) > 0 && substr(text, end + 1, 1) == "\"") {
        value = value substr(text, 1, end)
        text = substr(text, end + 2)
      }
      return value substr(text, 1, end - 1)
    }
    BEGIN { value = default_value }
    {
      line = trim($0)
      equals = index(line, "=")
      if (equals == 0 || line ~ /^[#[]/ || trim(substr(line, 1, equals - 1)) != wanted) next
      value = trim(substr(line, equals + 1))
      if (value ~ /^"/) {
        value = unquoted(value)
      } else if (match(value, /(^|[ \t\r])#/)) {
        value = trim(substr(value, 1, RSTART - 1))
      }
      if (value == "") value = default_value
    }
    END { print value }' <"$config")"
  for ((i = 0; i < ${#options[@]}; i++)); do
    case "${options[i]}" in
      "--$1") value="${options[i + 1]:-}" ;;
      "--$1="*) value="${options[i]#*=}" ;;
    esac
  done
  printf '%s\n' "$value"
}
