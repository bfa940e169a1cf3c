# SPDX-License-Identifier: Apache-2.0
# The hook's script as a C source.
s/[\\"]/\\&/g
s/^/"/
s/$/\\n"/
1i\
extern const char hook_script[];\
const char hook_script[] =
$a\
;
