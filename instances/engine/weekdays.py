"""Names of the days of a week and of the months, marked for translation; the first place of each is empty."""

from instances.language import gettext_noop as _

WEEKDAYS = (
    *("", _("Monday"), _("Tuesday"), _("Wednesday"), _("Thursday")),
    *(_("Friday"), _("Saturday"), _("Sunday")),
)
MONTHS = (
    *("", _("January"), _("February"), _("March"), _("April"), _("May"), _("June")),
    *(_("July"), _("August"), _("September"), _("October"), _("November"), _("December")),
)
