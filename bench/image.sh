# SPDX-License-Identifier: Apache-2.0
# The benchmark of the data plane: ./dev bench image [--goals | --quick] ...
set -euo pipefail
exec python3 "$VARVE_SOURCE/bench/image/main.py" "$@"
