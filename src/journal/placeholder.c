/* SPDX-License-Identifier: Apache-2.0 */
extern const int rh_placeholder_journal;
const int rh_placeholder_journal = 0;
