from django import forms
from django.contrib.auth import get_user_model


class NotificationForm(forms.Form):
    user = forms.ModelChoiceField(
        get_user_model().objects.order_by("username"), to_field_name="username", empty_label=None, label="To"
    )
    text = forms.CharField(
        max_length=500,
        widget=forms.TextInput(attrs={"placeholder": "What should they know?", "autocomplete": "off"}),
    )
